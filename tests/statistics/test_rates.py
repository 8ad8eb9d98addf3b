"""Rates and their gains, against plain means and the intervals of the statistics package."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.controls import paired_control
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.statistics.model_spread import model_spread
from lazarus_probe.statistics.rates import rate

RNG = np.random.default_rng(0)
UNITS = np.repeat(np.arange(30), 2)


def test_a_rate_has_the_interval_of_a_proportion():
    """What holds or does not has the interval of a proportion, and gains that of paired rows."""
    score, other = RNG.random(60) < 0.8, RNG.random(60) < 0.3
    found = rate("share", score, UNITS, {"other": other}, seed=3, tokens=5)
    interval = proportion_interval(score, UNITS, seed=3)
    assert (found.score, found.low, found.high) == (score.mean(), interval.low, interval.high)
    assert found.controls[0] == paired_control("other", score, other, UNITS, 3)
    assert (found.n, found.groups, found.tokens) == (60, 30, 5)


def test_a_positive_control_gains_over_the_score():
    """For an absence the gain is the control's."""
    score, other = np.zeros(60), np.ones(60)
    found = rate("share", score, UNITS, {"other": other}, positive=["other"])
    assert found.controls[0].gain == 1


def test_scores_of_either_sign_may_differ_by_two():
    """With a bound of 2 intervals are those of half the numbers, doubled."""
    score, other = RNG.uniform(-1, 1, 60), RNG.uniform(-1, 1, 60)
    found = rate("difference", score, UNITS, {"other": other}, bound=2)
    half = paired_interval((score - other) / 2, UNITS)
    assert found.controls[0].low == pytest.approx(2 * half.low)
    with pytest.raises(ValueError, match="lies outside 0 to 1"):
        rate("difference", score, UNITS, {"other": -score})


def test_equal_scores_keep_an_interval():
    """Probabilities that are all 1 could still be less on prompts not seen."""
    found = rate("probability", np.full(60, 0.999), UNITS, {"other": np.zeros(60)})
    assert found.low < 0.95


def test_several_models_are_one_control():
    """The gain over several models is over their mean, and its interval reaches as far as one more model may fall."""
    score, units = np.ones(60), np.repeat(np.arange(30), 2)
    models = np.zeros((5, 60))
    models[:, :10] = np.array([0, 1, 0, 1, 0])[:, None]
    several = rate("share", score, units, {"untrained": models}).controls[0]
    pooled = rate("share", score, units, {"untrained": models.mean(axis=0)}).controls[0]
    assert several.gain == pytest.approx(pooled.gain)
    reach = model_spread(models.mean(axis=1).tolist())
    assert several.low == pytest.approx(several.gain - np.hypot(pooled.gain - pooled.low, reach))
    with pytest.raises(ValueError, match="give at least 3"):
        rate("share", score, units, {"untrained": models[:2]})


def test_no_prompts_are_refused():
    """A rate of nothing is none."""
    with pytest.raises(ValueError, match="no prompts to take the share of"):
        rate("share", [], [], {"other": []})


def test_damage_is_kept():
    """What an edit does to unrelated prompts goes with the measurement."""
    hurt = Damage("answers lost", 0.2, 0.1, 0.3, 20)
    assert rate("share", np.ones(60), UNITS, {"other": np.zeros(60)}, damage=hurt).damage == hurt
