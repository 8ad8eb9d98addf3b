"""Vocabulary alignment over all layers, against the lens at one layer at a time."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.vocabulary.alignment import vocabulary_alignment, vocabulary_scan
from lazarus_probe.introspection.vocabulary.positive_controls import Readable, capitals
from lazarus_probe.subject.spellings import spellings
from lazarus_probe.tasks import prompts
from lazarus_probe.tasks.arithmetic import OPERATIONS


@pytest.fixture(scope="module")
def asked() -> list[prompts.Question]:
    return prompts.questions(np.random.default_rng(0), 4, phrasings=["spaced"])


@pytest.fixture(scope="module")
def few(organism) -> Readable:
    """A dozen capitals."""
    every = capitals(organism)
    return Readable(every.name, every.contexts[:12], every.answers[:12], every.units[:12])


@pytest.mark.slow
def test_the_curves_are_the_rates_at_each_layer(organism, asked, few):
    """Each point of either curve is what `vocabulary_alignment` reads there; the controls are its controls."""
    words = {name: spellings(organism, name) for name in OPERATIONS}
    found = vocabulary_scan(organism, asked, words, few)
    layers = range(organism.num_layers)
    one_by_one = [vocabulary_alignment(organism, asked, words, layer, few) for layer in layers]
    assert found.curves[0].y == tuple(each.score for each in one_by_one)
    assert found.curves[1].y == pytest.approx([each.controls[0].score for each in one_by_one])
    assert found.controls[0].score == pytest.approx(np.mean(found.curves[1].y))
    assert found.controls[1] == one_by_one[0].controls[1]
    assert max(found.curves[0].y) <= found.score <= sum(found.curves[0].y) + 1e-9


def test_a_word_at_one_layer_is_found(organism, asked, few):
    """With the answers of the last layer declared as class words, all prompts are named, as those tokens."""
    answers = {name: [] for name in OPERATIONS}
    for question in asked:
        whole = organism.encode(question.text + str(question.fact.answer))
        answers[question.fact.operation].append(whole[len(organism.encode(question.text))])
    found = vocabulary_scan(organism, asked, answers, few)
    assert found.score == found.curves[0].y[-1] == 1
    assert found.controls[0].gain <= 0


def test_an_untrained_model_shows_no_absence(organism, asked, few):
    """Null: an untrained model names nothing and has no capital, so one positive control gains nothing."""
    words = {name: spellings(organism, name) for name in OPERATIONS}
    found = vocabulary_scan(organism.untrained(1), asked, words, few)
    assert found.controls[1].high < 0.5


def test_a_missing_word_is_named(organism, asked, few):
    """A class word that is no token is refused."""
    with pytest.raises(ValueError, match="no spelling of add"):
        vocabulary_scan(organism, asked, {name: [5] for name in OPERATIONS} | {"add": []}, few)
