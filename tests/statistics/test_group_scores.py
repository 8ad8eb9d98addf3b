from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement.group_scores import group_scores, movement, paired_difference

DRAWS = 400


def test_unequal_groups_add_up_to_the_score():
    """The mean over groups, weighted by their rows, is the mean over rows."""
    rng = np.random.default_rng(0)
    values, units = rng.random(50), rng.integers(7, size=50)
    scores = group_scores(values, units)
    total = sum(mean * rows for mean, rows in scores.values()) / sum(rows for _, rows in scores.values())
    assert total == pytest.approx(values.mean(), abs=1e-6)


def test_groups_are_of_the_kind_with_the_fewest():
    """Of two kinds of units those are kept that an interval rests on."""
    units = {"phrasing": [0, 0, 1, 1, 2, 2], "family": ["a", "b"] * 3}
    assert sorted(rows for _, rows in group_scores(np.ones(6), units).values()) == [3, 3]


def test_the_paired_difference_is_that_of_the_scores():
    """With groups of any sizes the difference is the new mean over rows less the old one."""
    rng = np.random.default_rng(1)
    units = rng.integers(9, size=80)
    old, new = rng.random(80), rng.random(80)
    paired = paired_difference(group_scores(new, units), group_scores(old, units))
    assert paired.score == pytest.approx(new.mean() - old.mean(), abs=1e-6)
    assert paired.interval.low < paired.score < paired.interval.high


def test_other_units_are_not_paired():
    """Units of another name, number of rows, or fewer than two have no paired difference and no movement."""
    old = group_scores([1, 0, 1], ["a", "b", "c"])
    for units in (["a", "b", "d"], ["a", "b", "b"], ["a", "a", "a"]):
        new = group_scores([1, 0, 1], units)
        assert paired_difference(new, old) is None
        assert movement(new, old) is None
    assert paired_difference(group_scores([1.0], ["a"]), group_scores([0.0], ["a"])) is None


def test_the_same_model_differs_in_nothing():
    """Of equal scores the difference is 0 with p of 1, however many rows there are."""
    scores = group_scores(np.ones(30), np.arange(30))
    assert paired_difference(scores, scores) == (0.0, paired_difference(scores, scores).interval, 1.0)
    assert movement(scores, scores) == 0


def test_chance_alone_is_rarely_a_difference():
    """Where units move by chance, up as often as down, p is at most .05 in about a twentieth of draws."""
    rng = np.random.default_rng(2)
    alarms = 0
    for _ in range(DRAWS):
        old = rng.random(24)
        new = old + rng.standard_t(3, 24) * 0.01
        paired = paired_difference(group_scores(new, np.arange(24)), group_scores(old, np.arange(24)))
        alarms += paired.p <= 0.05
    assert exact(alarms, DRAWS).low <= 0.05


def test_a_small_shift_on_the_same_prompts_is_told():
    """A fall of .03 among prompts that differ by .3 is told by pairs, and not by two independent means."""
    rng = np.random.default_rng(3)
    old = rng.normal(0.5, 0.3, 40)
    new = old - 0.03 + rng.normal(0, 0.02, 40)
    paired = paired_difference(group_scores(new, np.arange(40)), group_scores(old, np.arange(40)))
    spread = 2 * np.sqrt(2 / 40) * 0.3
    assert paired.p < 0.001
    assert abs(paired.score) < spread


def test_answers_that_change_places_move():
    """Where as many units are lost as are won the score stays, and movement says how far they moved."""
    old = group_scores([1, 1, 0, 0], ["a", "b", "c", "d"])
    new = group_scores([0, 1, 1, 0], ["a", "b", "c", "d"])
    assert paired_difference(new, old).score == 0
    assert movement(new, old) == 0.5
