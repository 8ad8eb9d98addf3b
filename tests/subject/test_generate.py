"""Greedy generation, against a loop of full forwards."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import keeps_keys, new_cache
from lazarus_probe.subject import Subject, forward, greedy
from lazarus_probe.subject.padded_rows import can_pad
from tests.cases import slow_except
from tests.tolerance import of_logits, sole_best

PROMPTS = ["12 + 5 = ", "Paris", "a cat sat.", "a dog.", "9 * 3 = ", "."]


def by_hand(subject, naive, prompt, steps, stop=()):
    """New text of one prompt, by hand-written forwards of the whole sequence."""
    tokens, text = subject.encode(prompt), ""
    for _ in range(steps):
        logits = naive(subject.model, [tokens])["logits"][0, -1]
        token = sole_best(logits, of_logits(subject, logits))
        if token == subject.tokenizer.eos_token_id:
            break
        tokens.append(token)
        text += subject.decode([token])
        if any(end in text for end in stop):
            return min((text.split(end)[0] for end in stop), key=len)
    return text


def test_greedy_is_the_loop_of_full_forwards(subject, naive):
    """Prompts of several lengths, batched and cached, continue as each would alone without a cache."""
    expected = [by_hand(subject, naive, prompt, 8) for prompt in PROMPTS]
    assert greedy(subject, PROMPTS, 8) == expected
    assert greedy(subject, [subject.encode(prompt) for prompt in PROMPTS], 8) == expected
    assert len(set(expected)) > 3


def test_a_common_start_is_run_once(subject, naive, monkeypatch):
    """Prompts that begin alike continue as each would alone, and their beginning is run for one row."""
    start = "7 * 8 = 56. 3 * 4 = 12. "
    prompts = [f"{start}{a} * {b} = " for a, b in ((2, 3), (4, 5), (12, 9), (2, 3))]
    rows, lengths = [], []
    can_pad(subject)  # its trial runs before the count
    call = type(subject.model).__call__

    def counted(model, tokens, **options):
        rows.append(tokens.shape[0])
        lengths.append(tokens.shape[1])
        return call(model, tokens, **options)

    monkeypatch.setattr(type(subject.model), "__call__", counted)
    completions = greedy(subject, prompts, 8)
    assert rows[:2] == [1, 4]
    assert lengths[0] >= len(start)
    assert completions == [by_hand(subject, naive, prompt, 8) for prompt in prompts]


def test_many_tokens_are_run_without_their_logits(subject, naive, monkeypatch):
    """Prompts of many tokens continue as each would alone; where keys are kept their last position runs by itself."""
    monkeypatch.setattr("lazarus_probe.subject.generate.MANY", 8)
    prompts, lengths, call = ["43 + 5 = ", "21 + 4 = "], [], type(subject.model).__call__

    def counted(model, tokens, **options):
        lengths.append(tokens.shape[1])
        return call(model, tokens, **options)

    monkeypatch.setattr(type(subject.model), "__call__", counted)
    completions = greedy(subject, prompts, 8)
    if all(map(keeps_keys, new_cache(subject.model))):
        assert lengths[:2] == [len(subject.encode(prompts[0])) - 1, 1]
    assert completions == [by_hand(subject, naive, prompt, 8) for prompt in prompts]


@pytest.mark.parametrize("stop", slow_except(["a", ("4", "q"), "\n"], ("4", "q")))
def test_stop_strings_end_a_row_before_themselves(subject, naive, stop):
    """A row's text is cut before a stop string, and the other rows go on."""
    stops = (stop,) if isinstance(stop, str) else stop
    assert greedy(subject, PROMPTS, 16, stop) == [by_hand(subject, naive, p, 16, stops) for p in PROMPTS]


def test_a_row_stops_at_the_end_of_sequence_token(make_llama, tokenizer):
    """A model that prefers the end token from some point on gives the text before it."""
    model = make_llama(tie_word_embeddings=False)
    free = greedy(Subject.from_model(model, tokenizer), ["a cat"], 6)[0]
    logits = forward(model, mx.array([tokenizer.encode("a cat")]))[0, -1]
    model.lm_head.weight = mx.concatenate(
        [
            model.lm_head.weight[:1],
            model.lm_head.weight[mx.argmax(logits)][None] * 1.01,
            model.lm_head.weight[2:],
        ]
    )
    assert free
    assert greedy(Subject.from_model(model, tokenizer), ["a cat"], 6) == [""]


def test_forward_is_the_cached_forward(grouped):
    """The forward gives the logits of a hand-made cached call, at every position."""
    tokens = mx.array([[3, 5, 7], [2, 4, 6]])
    assert np.array_equal(np.array(forward(grouped.model, tokens)), np.array(grouped.model(tokens)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((["a"], 0), "max_tokens is 0; at least 1 is needed"),
        (([], 3), "no prompts to batch"),
        (([""], 3), "the prompt is empty"),
    ],
)
def test_nothing_to_generate_is_refused(grouped, arguments, message):
    """No prompts, an empty one, and no tokens to make are errors."""
    with pytest.raises(ValueError, match=message):
        greedy(grouped, *arguments)
