"""Routers and their scores, on readings whose right result is known."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.experiments.mixture import mixture
from lazarus_probe.experiments.routers import (
    NAMES,
    ModelReadouts,
    Readout,
    Sides,
    at_random,
    by_probe,
    by_regex,
    by_signal,
    by_tokens,
    decided,
    never,
    threshold_of,
)
from lazarus_probe.experiments.routing_scores import score
from lazarus_probe.subject import Subject

SIDES = Sides(tuple(mixture("calibrate", 8)), tuple(mixture("measure", 8)))


def shown(noise: float = 0.0, seed: int = 0) -> ModelReadouts:
    """Readings that hold the operation, but for noise; and answers that are right for half of the prompts."""
    rng = np.random.default_rng(seed)
    readings = []
    for side in (SIDES.calibrate, SIDES.measure):
        words = np.array([[-1.0 if each.operation == name else -9.0 for name in NAMES] for each in side])
        words += noise * rng.normal(size=words.shape)
        readings.append(Readout(words, words @ rng.normal(size=(4, 16)) if noise else words))
    return ModelReadouts(*readings, np.arange(len(SIDES.measure)) % 2 == 0)


@pytest.mark.parametrize(
    ("scores", "wanted", "cut"),
    [
        ([1, 2, 3, 4], [0, 0, 1, 1], 2.5),
        ([1, 2, 9, 10], [0, 0, 1, 1], 5.5),
        ([1, 2, 3, 4], [0, 1, 0, 1], 1.5),
    ],
)
def test_threshold(scores, wanted, cut):
    """The cut takes most wanted and fewest others, halfway between two scores."""
    assert threshold_of(np.array(scores, float), np.array(wanted, bool)) in (cut, 3.5)


def test_threshold_needs_both():
    """Without prompts of both kinds there is nothing to set a threshold on."""
    with pytest.raises(ValueError, match="prompts of both kinds"):
        threshold_of(np.zeros(3), np.ones(3, bool))


def test_threshold_is_the_best_of_all():
    """No other cut has more hits less false alarms, against every one tried."""
    rng = np.random.default_rng(0)
    scores, wanted = rng.normal(size=200), rng.random(200) < 0.3
    scores[wanted] += 1

    def youden(cut: float) -> float:
        return float((scores[wanted] > cut).mean() - (scores[~wanted] > cut).mean())

    assert youden(threshold_of(scores, wanted)) == max(youden(cut) for cut in scores)


@pytest.mark.parametrize("route", [lambda s: by_signal("signal", s, SIDES), lambda s: by_probe(s, SIDES)])
def test_a_perfect_signal_answers_all_arithmetic(route):
    """With the operation in what is read all arithmetic is sent and solved, and the rest stays with the model."""
    given = shown()
    found = route(given)
    calculable = np.array([each.calculable for each in SIDES.measure])
    assert (found.routed == calculable).all()
    assert (found.answered == np.where(calculable, 1, given.right)).all()
    assert decided(found, SIDES).all()
    numbers = score(found, SIDES)
    assert numbers.precision.share == numbers.recall.share == numbers.decisions.share == 1
    assert numbers.recall.low > 0.75  # 15 of 15 wordings


def test_noise_routes_nothing_well():
    """A reading of noise alone is no better than chance: the null of every fitted router."""
    chances = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        noise = [
            Readout(rng.normal(size=(len(side), 4)), rng.normal(size=(len(side), 16)))
            for side in (SIDES.calibrate, SIDES.measure)
        ]
        given = ModelReadouts(*noise, np.zeros(len(SIDES.measure), bool))
        signal = by_signal("signal", given, SIDES)
        wanted = np.array([each.calculable for each in SIDES.measure])
        chances.append(signal.routed[wanted].mean() - signal.routed[~wanted].mean())
    assert abs(np.mean(chances)) < 0.1


def test_wrong_operation_is_a_wrong_answer():
    """The signal's word decides what is calculated: with all words swapped decisions are right and answers wrong."""
    given = shown()
    swapped = [
        Readout(reading.log_probs[:, [1, 0, 3, 2]], reading.resid)
        for reading in (given.calibrate, given.measure)
    ]
    found = by_signal("signal", ModelReadouts(*swapped, given.right), SIDES)
    calculable = np.array([each.calculable for each in SIDES.measure])
    assert decided(found, SIDES).all()
    assert found.answered[calculable].mean() < 0.2


def test_regex_and_nothing():
    """The regular expressions are spelled out of the phrasings, so they are all right; never routing sends nothing."""
    given = shown()
    assert decided(by_regex(given, SIDES), SIDES).all()
    alone = never("alone", given)
    assert not alone.routed.any()
    assert (alone.answered == given.right).all()
    assert score(alone, SIDES).precision is None


def test_random_is_the_mean_of_draws():
    """The expectation is the mean over many random choices of as many prompts."""
    given = shown()
    signal = by_signal("signal", given, SIDES)
    found, rng = at_random(signal, given, SIDES), np.random.default_rng(0)
    calculable = np.array([each.calculable for each in SIDES.measure])
    draws = []
    for _ in range(3000):
        sent = rng.permutation(signal.routed) > 0
        draws.append(np.where(sent & calculable, 1, given.right).mean())
    assert found.answered.mean() == pytest.approx(np.mean(draws), abs=0.01)


def test_bag_of_tokens_needs_no_model():
    """The bag knows wordings it was fitted on, whatever the model shows."""
    again = Sides(SIDES.calibrate, SIDES.calibrate)
    given = shown(noise=9.0)
    given = ModelReadouts(given.calibrate, given.calibrate, np.zeros(len(SIDES.calibrate), bool))
    assert decided(by_tokens(Subject.load("organism"), given, again), again).mean() > 0.95
