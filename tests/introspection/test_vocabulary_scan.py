"""Vocabulary alignment over all layers, against the lens at one layer at a time."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.vocabulary import spellings, vocabulary_alignment
from lazarus_probe.introspection.vocabulary_scan import vocabulary_scan
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS


@pytest.fixture(scope="module")
def asked() -> list[prompts.Question]:
    return prompts.questions(np.random.default_rng(0), 8, phrasings=["spaced"])


def test_the_curve_is_the_rate_at_each_layer(organism, asked):
    """Each point of the curve is the rate that `vocabulary_alignment` reads there, and the control is its control."""
    words = {name: spellings(organism, name) for name in OPERATIONS}
    found = vocabulary_scan(organism, asked, words)
    one_by_one = [vocabulary_alignment(organism, asked, words, layer) for layer in range(organism.num_layers)]
    assert found.curves[0].y == tuple(each.score for each in one_by_one)
    assert found.controls[0].score == one_by_one[0].controls[0].score
    assert max(found.curves[0].y) <= found.score <= sum(found.curves[0].y) + 1e-9


def test_a_word_at_one_layer_is_found(organism, asked):
    """With the answers of the last layer declared as class words, all prompts are named, as those tokens."""
    answers = {name: [] for name in OPERATIONS}
    for question in asked:
        whole = organism.encode(question.text + str(question.fact.answer))
        answers[question.fact.operation].append(whole[len(organism.encode(question.text))])
    found = vocabulary_scan(organism, asked, answers)
    assert found.score == found.curves[0].y[-1] == 1
    assert found.controls[0].gain == 0


def test_an_untrained_model_shows_no_absence(organism, asked):
    """Null: an untrained model names nothing and answers nothing, so the positive control gains nothing."""
    words = {name: spellings(organism, name) for name in OPERATIONS}
    found = vocabulary_scan(organism.untrained(1), asked, words)
    assert found.controls[0].high < 0.5


def test_a_missing_word_is_named(organism, asked):
    """A class word that is no token is refused."""
    with pytest.raises(ValueError, match="no spelling of add"):
        vocabulary_scan(organism, asked, {name: [5] for name in OPERATIONS} | {"add": []})
