"""Capped R2: what it is, what one unit can cost, and what its intervals hold."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.statistics.bounded import order_statistic, unit_weights
from lazarus_probe.statistics.controls import mean_predictions
from lazarus_probe.statistics.probes.capped import (
    NumberErrors,
    capped_gain_interval,
    capped_r2_interval,
    number_errors,
)

DRAWS = 100


def uniform(count: int, noise: float, seed: int = 0) -> NumberErrors:
    """Numbers from 1 on, predicted with some noise in standard deviations."""
    numbers = np.arange(1.0, count + 1)
    guesses = numbers + noise * numbers.std() * np.random.default_rng(seed).normal(size=count)
    return number_errors(numbers, guesses, mean_predictions(numbers, np.arange(count)))


def skewed(count: int, seed: int) -> tuple[NumberErrors, NumberErrors]:
    """Products, predicted with noise, and by another predictor with rare blunders."""
    rng = np.random.default_rng(seed)
    numbers = (rng.integers(1, 51, count) * rng.integers(1, 51, count)).astype(float)
    means = mean_predictions(numbers, np.arange(count))
    noise = 200 * rng.normal(size=count)
    blunders = np.where(rng.random(count) < 0.1, 2500.0, numbers + 50 * rng.normal(size=count))
    return number_errors(numbers, numbers + noise, means), number_errors(numbers, blunders, means)


def test_scores_are_those_of_a_loop():
    """Capped and plain R2 are what a loop over rows, in plain Python, gives."""
    probe, _ = skewed(40, 1)
    mean = sum(probe.labels) / 40
    variance = sum((label - mean) ** 2 for label in probe.labels) / 40
    capped = [0.0, 0.0]
    plain = [0.0, 0.0]
    for error, away in zip(probe.errors[:, 0], probe.away, strict=True):
        for place, value in enumerate((error, away)):
            capped[place] += min(value * value, variance)
            plain[place] += value * value
    assert probe.score == pytest.approx(1 - capped[0] / capped[1])
    assert probe.r2 == pytest.approx(1 - plain[0] / plain[1])


def test_the_mean_scores_nothing_and_a_blunder_at_most_as_much_as_not_knowing():
    """The mean scores 0 and the labels 1; of uniform labels, a hundredth that is wrong costs at most .0163."""
    numbers = np.arange(10_000.0)
    means = np.full(10_000, numbers.mean())
    assert number_errors(numbers, means, means).score == 0
    assert number_errors(numbers, numbers, means).score == 1
    scores = [
        number_errors(numbers, np.where(np.arange(10_000) % 100 == 0, wrong, numbers), means).score
        for wrong in (numbers.max(), 1e5, 1e9)
    ]
    assert scores[0] > scores[1] == scores[2] == pytest.approx(1 - 0.01 / 0.6151, abs=1e-4)


def test_small_errors_cost_more_than_in_r2():
    """Of uniform labels, what is missing from 1 is 1 / .615 of what plain R2 misses, as the cap is not reached."""
    probe = uniform(2000, 0.1)
    assert 1 - probe.score == pytest.approx((1 - probe.r2) / 0.615, rel=2e-3)


def test_the_score_falls_with_every_error():
    """Larger errors never give a larger score, nor a larger end of its interval."""
    probes = [uniform(60, noise) for noise in (0.0, 0.05, 0.1, 0.3, 1.0, 3.0)]
    intervals = [capped_r2_interval(probe, np.arange(60), draws=1000) for probe in probes]
    for values in (
        [probe.score for probe in probes],
        [each.low for each in intervals],
        [each.high for each in intervals],
    ):
        assert values == sorted(values, reverse=True)


def reweighted(probe: NumberErrors, errors: np.ndarray, draw: np.ndarray, far: float) -> tuple[float, float]:
    """What predictions lose and what the mean loses under a draw's weights, the last that of a label so far off."""
    weights, unseen = draw[:-1], draw[-1]
    centred = probe.labels - probe.labels.mean()
    mean = weights @ centred / draw.sum()
    variance = (weights @ centred**2 + unseen * far**2) / draw.sum() - mean**2
    near = probe.away**2 < probe.variance
    slope = -2 * probe.away[near].sum() / np.minimum(probe.away**2, probe.variance).sum()
    around = np.exp(slope * (weights @ centred) / weights.sum())
    around *= weights @ np.minimum(probe.away**2, variance)
    lost = weights @ np.minimum(errors[:, 0] ** 2, variance)
    return lost / variance, around / variance + unseen * min(far**2 / variance, 1)


@pytest.mark.parametrize(("count", "within"), [(8, 0.05), (30, 0.01), (100, 0.005)])
def test_ends_are_the_worst_that_one_more_unit_can_do(count, within):
    """Score and gain: both ends are those of a grid of labels and errors of the unit not seen, draw by draw."""
    probe, other = skewed(count, 3)
    ends: dict[str, list[list[float]]] = {"score": [], "gain": []}
    for draw in unit_weights(count, DRAWS, 0):
        scores, gains, unseen = [], [], draw[-1]
        for far in np.linspace(0, np.ptp(probe.labels), 21):
            (ours, of), (theirs, _) = (reweighted(probe, each.errors, draw, far) for each in (probe, other))
            for one in (0.0, 0.5, 1.0):
                scores.append(1 - (ours + unseen * one) / of)
                gains += [(theirs - ours + unseen * (two - one)) / of for two in (0.0, 0.5, 1.0)]
        ends["score"].append([min(scores), max(scores)])
        ends["gain"].append([min(gains), max(gains)])
    intervals = {
        "score": capped_r2_interval(probe, np.arange(count), draws=DRAWS),
        "gain": capped_gain_interval(probe, other, np.arange(count), draws=DRAWS),
    }
    for name, interval in intervals.items():
        lows, highs = np.array(ends[name]).T
        expected = [order_statistic(lows, 0.025), order_statistic(highs, 0.975)]
        assert [interval.low, interval.high] == pytest.approx(expected, abs=within)


def test_a_hundred_units_tell():
    """A score of .98 is told from .9 by a hundred units, which plain R2 could not be."""
    probe = uniform(100, 0.11)
    interval = capped_r2_interval(probe, np.arange(100))
    assert 0.97 < probe.score < 0.99
    assert 0.9 < interval.low < probe.score < interval.high < 1


def test_a_gain_over_the_same_is_nothing():
    """A probe gains nothing over itself, and the interval of that holds 0 at nearly equal distances."""
    probe = uniform(100, 0.3)
    interval = capped_gain_interval(probe, probe, np.arange(100))
    assert interval.low < 0 < interval.high
    assert interval.high == pytest.approx(-interval.low, rel=1e-6)


def test_a_control_of_other_labels_gains_by_its_own_score():
    """The gain is the difference of the scores, though the control's labels have another variance."""
    probe, other = uniform(100, 0.1), skewed(100, 2)[0]
    interval = capped_gain_interval(probe, other, np.arange(100))
    assert interval.low < probe.score - other.score < interval.high
    assert interval.width < 0.5


def test_the_mean_of_models_is_their_mean_score():
    """Errors of several models score the mean of their scores."""
    probe, other = skewed(50, 4)
    both = NumberErrors(probe.labels, np.hstack([probe.errors, other.errors]), probe.away)
    assert both.score == pytest.approx((probe.score + other.score) / 2)
    assert both.r2 == pytest.approx((probe.r2 + other.r2) / 2)


def test_units_are_drawn_whole_and_crossed():
    """Rows that come in units make the interval wider, and so do two kinds of units."""
    probe, _ = skewed(120, 5)
    one, rows = np.arange(120) // 4, np.arange(120)
    alone = capped_r2_interval(probe, rows).width
    assert capped_r2_interval(probe, one).width > alone
    assert capped_r2_interval(probe, {"unit": one, "row": rows}).width > alone


def test_what_cannot_be_scored_is_refused():
    """Labels without variance, other lengths, and numbers that are not finite raise and are named."""
    with pytest.raises(ValueError, match="labels are all 1: R2 is not defined without variance"):
        number_errors([1.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="must have one length"):
        number_errors([1.0, 2.0], [0.0, 1.0], [1.0])
    with pytest.raises(ValueError, match="predictions"):
        number_errors([1.0, 2.0], [0.0, float("nan")], [1.0, 1.0])
    with pytest.raises(ValueError, match="at least 2 are needed"):
        capped_r2_interval(uniform(10, 0.1), np.zeros(10))
