"""Vocabulary alignment, against the lens read by hand."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.replay import replay
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.vocabulary import spellings, vocabulary_alignment
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS
from tests.tolerance import of_logits, sole_best


def test_spellings_are_the_word_alone(organism):
    """Every spelling is one token that decodes to the word, whatever its case or leading space."""
    for word in OPERATIONS:
        found = spellings(organism, word)
        assert len(found) == 4
        assert {organism.decode([token]).strip().lower() for token in found} == {word}


def test_rates_are_the_lens(organism):
    """Both rates are those of `replay` on each prompt's own residual, one prompt at a time."""
    asked = prompts.questions(np.random.default_rng(0), 5, phrasings=["compact"])
    words = {name: spellings(organism, name) for name in OPERATIONS}
    found = vocabulary_alignment(organism, asked, words, layer=4)
    named, answered, probabilities = [], [], []
    for question in asked:
        run = trace(organism, question.text, capture=["resid_post.4", "resid_post.7"])
        middle, last = (replay(organism, run[f"resid_post.{layer}"])[0, -1] for layer in (4, 7))
        tokens = words[question.fact.operation]
        tops = [sole_best(np.array(row), of_logits(organism, np.array(row))) for row in (middle, last)]
        named.append(tops[0] in tokens)
        whole = organism.encode(question.text + str(question.fact.answer))
        answered.append(tops[1] == whole[len(organism.encode(question.text))])
        probabilities.append(float(mx.softmax(middle)[mx.array(tokens)].sum().item()))
    assert found.score == pytest.approx(np.mean(named))
    assert found.controls[0].score == pytest.approx(np.mean(answered))
    assert found.details["mean_probability"] == pytest.approx(np.mean(probabilities), rel=1e-3, abs=1e-9)


def test_a_missing_class_word_is_named(organism):
    """An operation whose word is no token is refused by name."""
    asked = prompts.questions(np.random.default_rng(0), 2, phrasings=["compact"])
    with pytest.raises(ValueError, match="no spelling of add is a single token"):
        vocabulary_alignment(
            organism, asked, {name: [] if name == "add" else [1] for name in OPERATIONS}, layer=4
        )
