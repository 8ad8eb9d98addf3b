"""Greedy generation, with the model's own cache."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx

from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.fast_gates import fast_gates
from lazarus_probe.subject.finite import is_finite, peak, refuse
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.subject.shared_prefix import run_shared_prefix, runs_in_parts
from lazarus_probe.tasks.numbers import CutText

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Tokens of a batch from which on the last position is run by itself: logits of all positions, which nothing reads, are
# 800 MB for 4,096 tokens and a vocabulary of 49,152, and a fifth of what a model of 135M parameters computes.
MANY = 512


def greedy(
    subject: Subject, prompts: Sequence[Prompt], max_tokens: int, stop: str | Sequence[str] = ()
) -> list[str]:
    """The most likely continuation of each prompt, token by token, in batches of equal length.

    Inside `hooked(...)` the hooks act on every step.

    Args:
        subject: a model with a tokenizer.
        prompts: texts, or token ids.
        max_tokens: new tokens a prompt at most.
        stop: strings that end a row; the text is cut before the first of them. The end-of-sequence tokens of
            the tokenizer always end one.

    Returns:
        The new text of each prompt, in the order of `prompts`; one that `max_tokens` ended is a `CutText`, so that a
        number at its end is not taken for a whole one.

    Raises:
        ValueError: no prompts, an empty prompt, or `max_tokens` below 1.
        NotFinite: logits that no token can be chosen by.

    Example:
        >>> from lazarus_probe.subject import greedy
        >>> greedy(subject, ["7*8=", "7+8="], max_tokens=4)
        ['56', '15']
    """
    if max_tokens < 1:
        raise ValueError(f"max_tokens is {max_tokens}; at least 1 is needed")
    stops = (stop,) if isinstance(stop, str) else tuple(stop)
    encoded = encode_all(subject, prompts)
    texts = [""] * len(encoded)
    with fast_gates(subject):
        for indices, tokens in by_length(encoded):
            for index, text in zip(indices, _greedy_batch(subject, tokens, max_tokens, stops), strict=True):
                texts[index] = text
    return texts


def _greedy_batch(subject: Subject, tokens: mx.array, max_tokens: int, stops: tuple[str, ...]) -> list[str]:
    tokens_so_far, prompts = [tokens], _lists(tokens)
    cache, tokens = _started(subject, tokens)
    new: list[list[int]] = [[] for _ in prompts]
    running = [True] * len(prompts)
    for _ in range(max_tokens):
        logits = last_logits(subject, tokens, cache)
        chosen, largest = mx.argmax(logits, axis=-1), peak(logits)
        mx.eval(chosen, largest)
        if not is_finite(largest):
            refuse(subject, mx.concatenate(tokens_so_far, axis=1))
        for row, token in enumerate(_ints(chosen)):
            if running[row] and token in subject.eos_token_ids:
                running[row] = False
            if running[row]:
                new[row].append(token)
                running[row] = not (stops and has_stop(subject.decode(new[row]), stops))
        if not any(running):
            break
        tokens = chosen[:, None]
        tokens_so_far.append(tokens)
    return [
        cut_at_stop(continuation(subject, *pair), stops, cut=going)
        for *pair, going in zip(prompts, new, running, strict=True)
    ]


def _started(subject: Subject, tokens: mx.array) -> tuple[list[Any], mx.array]:
    """A cache with what was run of the rows already, and the tokens of the rows (B, L) after that.

    The tokens that all rows begin with are run once: worked examples before a question, or the start of a chat, are
    most of a prompt. Of many tokens all but the last are run without their logits. Hooks act on whole prompts.
    """
    cache, length = run_shared_prefix(subject, tokens, tokens.shape[1] - 1)
    tokens = tokens[:, length:]
    if runs_in_parts(subject, cache) and tokens.shape[1] > 1 and tokens.size > MANY:
        subject.model(tokens[:, :-1], cache=cache)
        tokens = tokens[:, -1:]
    return cache, tokens


def _ints(tokens: mx.array) -> list[int]:
    values: Any = tokens.tolist()
    return list(values)


def _lists(tokens: mx.array) -> list[list[int]]:
    values: Any = tokens.tolist()
    return list(values)


def continuation(subject: Subject, prompt: list[int], new: list[int]) -> str:
    """The text of new tokens after a prompt's."""
    # Decoded with the prompt before it: some tokenizers drop the leading space of whatever they decode.
    before, full_text = subject.decode(prompt), subject.decode(prompt + new)
    return full_text[len(before) :] if full_text.startswith(before) else subject.decode(new)


def has_stop(text: str, stops: tuple[str, ...]) -> bool:
    """Whether a text holds one of the strings that end it."""
    return any(stop in text for stop in stops)


def cut_at_stop(text: str, stops: tuple[str, ...], *, cut: bool = False) -> str:
    """A text up to the first of the strings that end it; a `CutText` where none does and the limit `cut` it."""
    ends = [text.index(stop) for stop in stops if stop in text]
    if ends:
        return text[: min(ends)]
    return CutText(text) if cut else text
