"""Probabilities of continuations, against the plain forward token by token."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.introspection.generation.continuation import continuation_probability, joined


def test_probability_is_the_product_over_tokens(grouped):
    """Each probability is the product of softmax values read one prefix at a time."""
    prompts, continuations = ["1 + 1 =", "a b", "b = "], ["2", "at is", "345"]
    found = continuation_probability(grouped, prompts, continuations)
    for value, prompt, text in zip(found, prompts, continuations, strict=True):
        ids, start = grouped.encode(prompt + text), len(grouped.encode(prompt))
        expected = 1.0
        for place in range(start, len(ids)):
            logits = forward(grouped.model, mx.array([ids[:place]]))[0, -1]
            expected *= float(mx.softmax(logits)[ids[place]])
        assert value == pytest.approx(expected, rel=1e-4)


def test_all_next_tokens_sum_to_one(grouped):
    """The one-token continuations of a prompt, with the special ones that cannot be written, are a distribution."""
    characters = "abcdefghijklmnopqrstuvwxyz0123456789 +=*."
    found = continuation_probability(grouped, ["ab="] * len(characters), list(characters))
    whole = np.array(mx.softmax(forward(grouped.model, mx.array([grouped.encode("ab=")]))[0, -1]))
    named = [grouped.encode("ab=" + character)[-1] for character in characters]
    assert found == pytest.approx(whole[named], rel=1e-4)


def test_a_space_that_is_joined_belongs_to_the_continuation(grouped):
    """Where the tokenizer makes one token of the prompt's last space and a word, that token is the continuation."""
    whole, start = joined(grouped, "b ", "Paris")
    assert [grouped.decode([token]) for token in whole[start:]] == [" Paris"]
    logits = forward(grouped.model, mx.array([grouped.encode("b")]))[0, -1]
    expected = float(mx.softmax(logits)[grouped.encode("b Paris")[-1]])
    assert continuation_probability(grouped, ["b "], ["Paris"])[0] == pytest.approx(expected, rel=1e-4)


def test_joined_is_the_whole_text(grouped):
    """The tokens are those of prompt and continuation together, cut after the prompt's own."""
    whole, start = joined(grouped, "1 + 1 =", "23")
    assert whole == grouped.encode("1 + 1 =23")
    assert whole[:start] == grouped.encode("1 + 1 =")


def test_a_continuation_must_have_tokens_of_its_own(grouped):
    """Nothing to continue with, or a token joined with the prompt's last one, is named."""
    with pytest.raises(ValueError, match="does not continue"):
        continuation_probability(grouped, ["1 ="], [""])
    with pytest.raises(ValueError, match="'2' does not continue '1'"):
        continuation_probability(grouped, ["1"], ["2"])
