"""One spelling for words that are compared, against plain forwards."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.introspection.generation.spelled import spelled_after
from lazarus_probe.introspection.patching.encoded_pairs import encode_pairs, tokens_of
from lazarus_probe.introspection.patching.prompt_pairs import PromptPair

FORMS = (str, lambda word: f" {word}", str.capitalize, lambda word: f" {word.capitalize()}")


def log_probability(subject, prompt: str, token: int) -> float:
    """Of a token to come next, by a plain forward."""
    logits = np.array(subject.model(mx.array([subject.encode(prompt)]))[0, -1].astype(mx.float32), np.float64)
    return float(logits[token] - np.log(np.exp(logits - logits.max()).sum()) - logits.max())


@pytest.mark.parametrize("prompts", [["7 * 8 = ", "Multiply or"], ["I will", "\n"]])
def test_the_likeliest_form_of_all_words(organism, prompts):
    """Of the forms in which both words are one token, the one with the highest log probability, for both."""
    words = ["multiply", "add"]
    totals = [
        sum(
            log_probability(organism, prompt, organism.single_token(form(word)))
            for prompt, word in zip(prompts, words, strict=True)
        )
        for form in FORMS
    ]
    best = FORMS[int(np.argmax(totals))]
    assert [organism.decode([t]) for t in spelled_after(organism, prompts, words).tokens] == [
        best(word) for word in words
    ]


def test_one_form_needs_no_run(organism, monkeypatch):
    """Where one form makes all words a token, that is it, and the model is not run."""
    monkeypatch.setattr("lazarus_probe.introspection.generation.spelled.next_token_logits", None)
    spelled = spelled_after(organism, ["a", "b"], ["multiply", "times"])
    assert [organism.decode([token]) for token in spelled.tokens] == [" multiply", " times"]
    assert spelled.form == "with a space before it"
    given = spelled_after(organism, ["a", "b"], [" multiply", "'add'"])
    assert ([organism.decode([t]) for t in given.tokens], given.form) == ([" multiply", "add"], None)
    assert spelled_after(organism, [], []).tokens == ()


def test_words_without_a_common_form(organism):
    """Each has its own likeliest spelling."""
    spelled = spelled_after(organism, ["x = ", "The"], ["function", "review"])
    assert spelled.form is None
    assert organism.decode([spelled.tokens[0]]) == "function"
    review = max(
        (organism.single_token(text) for text in (" review", "Review")),
        key=lambda token: log_probability(organism, "The", token),
    )
    assert spelled.tokens[1] == review
    with pytest.raises(ValueError, match="'Zoo' is not one token"):
        spelled_after(organism, ["a"], ["Zoo"])


def test_answers_of_pairs_are_spelled_alike(organism):
    """Answers given without their space are taken with it where that is how each is one token."""
    pair = PromptPair("The capital of France is", "The capital of Norway is", "Paris", "Oslo")
    tokens = tokens_of(organism, encode_pairs(organism, [pair]))
    assert (tokens.answers, tokens.others) == (
        (organism.single_token(" Paris"),),
        (organism.single_token(" Oslo"),),
    )
    assert tokens.form == "with a space before it"
    alone = tokens_of(organism, encode_pairs(organism, [PromptPair(pair.source, pair.target, " Paris")]))
    assert (alone.answers, alone.form) == (tokens.answers, None)
