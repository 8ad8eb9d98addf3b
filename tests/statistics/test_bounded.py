from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.intervals import exact

ROUNDING_OF_DRAWS = 0.012  # of a quantile that rests on 100 of 4,000 draws


def ends(interval):
    return interval.low, interval.high


@pytest.mark.parametrize(("successes", "n"), [(0, 5), (5, 5), (3, 7), (17, 20), (30, 60), (1, 40)])
def test_zeros_and_ones_have_the_exact_binomial_interval(successes, n):
    """On independent trials it is the interval of Clopper and Pearson."""
    interval, reference = proportion_interval(np.arange(n) < successes, np.arange(n)), exact(successes, n)
    assert ends(interval) == pytest.approx(ends(reference), abs=ROUNDING_OF_DRAWS)


def test_many_rows_have_students_interval():
    """Of many values it is as wide as the t interval."""
    values = np.random.default_rng(0).beta(2, 3, size=800)
    reference = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    interval = bounded_mean_interval(values, np.arange(800), 0, 1)
    assert ends(interval) == pytest.approx((reference.low, reference.high), abs=0.004)
    assert interval.width > 0.95 * (reference.high - reference.low)


@pytest.mark.parametrize("runs", [5, 20])
def test_values_near_zero_are_no_better_evidence_than_zeros(runs):
    """Probabilities of 1e-9 leave as much room above them as zeros do."""
    zeros = bounded_mean_interval(np.zeros(runs), np.arange(runs), 0, 1)
    small = bounded_mean_interval(1e-9 * np.random.default_rng(0).random(runs), np.arange(runs), 0, 1)
    assert zeros.high == pytest.approx(1 - 0.025 ** (1 / runs), abs=0.02)
    assert small.high == pytest.approx(zeros.high, abs=1e-6)


def test_a_fifth_of_the_runs_cannot_hide_from_five():
    """Five runs at 1e-4 leave a mean of .2 possible: where a fifth of runs differ, five meet none in 33% of cases."""
    assert bounded_mean_interval(np.full(5, 1e-4), np.arange(5), 0, 1).high > 0.4


def test_copies_of_a_row_are_worth_one():
    """A cluster's rows count as one where they agree, however many they are."""
    values = np.random.default_rng(4).random(20)
    once = bounded_mean_interval(values, np.arange(20), 0, 1)
    copied = bounded_mean_interval(np.repeat(values, 10), np.repeat(np.arange(20), 10), 0, 1)
    assert ends(copied) == pytest.approx(ends(once))


def test_scores_that_rise_have_intervals_that_rise():
    """One more right answer lowers neither end."""
    intervals = [proportion_interval(np.arange(12) < right, np.arange(12)) for right in range(13)]
    assert all(a.low <= b.low and a.high <= b.high for a, b in pairwise(intervals))


def test_differences_have_a_range_on_either_side():
    """No change in ten clusters leaves a share of clusters that could change, in either direction."""
    interval = paired_interval(np.zeros(80), np.repeat(np.arange(10), 8))
    assert ends(interval) == pytest.approx((-(1 - 0.025**0.1), 1 - 0.025**0.1), abs=0.02)


def test_the_interval_is_in_the_unit_of_the_values():
    """Values and range twice as large have an interval twice as large."""
    differences = np.random.default_rng(1).uniform(-1, 1, 30)
    once = paired_interval(differences, np.arange(30))
    twice = paired_interval(2 * differences, np.arange(30), bound=2)
    assert ends(twice) == pytest.approx((2 * once.low, 2 * once.high))


def test_two_kinds_of_units_are_wider_than_either():
    """What generalises over phrasings and families is less sure than over either."""
    rng = np.random.default_rng(0)
    phrasing, family = np.repeat(np.arange(9), 40), np.tile(np.arange(40), 9)
    correct = rng.random(360) < np.repeat(rng.beta(8, 2, size=9), 40)
    both = proportion_interval(correct, {"phrasing": phrasing, "family": family})
    for units in (phrasing, family):
        alone = proportion_interval(correct, units)
        assert both.low < alone.low
        assert both.high >= alone.high - ROUNDING_OF_DRAWS


def test_a_unit_of_one_row_adds_nothing_to_the_other_kind():
    """Where every row has a unit of its own beside its family, the interval is about that of the families."""
    correct = np.random.default_rng(0).random(120) < np.repeat([0.2, 0.9, 1.0], 40)
    families = np.repeat(np.arange(12), 10)
    alone = proportion_interval(correct, families)
    both = proportion_interval(correct, {"family": families, "row": np.arange(120)})
    assert both.width == pytest.approx(alone.width, rel=0.15)


def test_nested_kinds_are_the_coarser_one():
    """Where every family has one wording, or rows are alone in both, the interval is that of the coarser kind."""
    correct = np.random.default_rng(0).random(120) < 0.7
    wordings, rows = np.repeat(np.arange(60), 2), np.arange(120)
    assert ends(proportion_interval(correct, {"family": rows, "wording": wordings})) == ends(
        proportion_interval(correct, wordings)
    )
    assert ends(proportion_interval(correct, {"wording": rows, "family": rows})) == ends(
        proportion_interval(correct, rows)
    )
    crossed = np.arange(120) % 60
    assert (
        proportion_interval(correct, {"wording": wordings, "family": crossed}).width
        > 1.2 * proportion_interval(correct, wordings).width
    )


def test_what_cannot_be_is_refused():
    """Values beyond the range, a range of nothing, one unit, other lengths and no units raise and are named."""
    with pytest.raises(ValueError, match=r"a value of 1\.5 lies outside 0 to 1"):
        bounded_mean_interval([0.1, 1.5], [0, 1], 0, 1)
    with pytest.raises(ValueError, match="the range is 1 to 1"):
        bounded_mean_interval([1.0, 1.0], [0, 1], 1, 1)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        bounded_mean_interval([0.1, 0.5], ["a", "a"], 0, 1)
    with pytest.raises(ValueError, match="one cluster for each of the 2 rows"):
        paired_interval([0.1, 0.2], [0, 1, 2])
    with pytest.raises(
        ValueError, match=r"units\['phrasing'\] has 1 distinct value\(s\): at least 2 are needed"
    ):
        paired_interval([0.1, 0.2], {"family": [0, 1], "phrasing": ["is", "is"]})
    with pytest.raises(ValueError, match="name at least one kind"):
        paired_interval([0.1, 0.2], {})
    with pytest.raises(ValueError, match=r"holds 1\.5"):
        paired_interval([0.1, 1.5], [0, 1])
    with pytest.raises(ValueError, match="other than 0 and 1"):
        proportion_interval([0.5, 1.0], [0, 1])
    with pytest.raises(ValueError, match=r"values\[1\] is not finite"):
        bounded_mean_interval([0.5, float("nan")], [0, 1], 0, 1)


def test_ends_are_plain_floats():
    """An interval holds what a report can carry."""
    interval = paired_interval([0.5, 0.1, -0.2, 0.3], [0, 1, 2, 3])
    assert (type(interval.low), type(interval.high)) == (float, float)


@pytest.mark.parametrize(("count", "held"), [(10, (0.5, 0.85)), (40, (0.92, 1.0))])
def test_rare_large_units_that_differ_need_many_units(count, held):
    """The limit that the docstring names: the mean row of units of 6 rows at .9 among others of one at .1."""
    truth = (0.1 * 6 * 0.9 + 0.9 * 0.1) / (0.1 * 6 + 0.9)
    within = 0
    for seed in range(200):
        large = np.random.default_rng(seed).random(count) < 0.1
        sizes = np.where(large, 6, 1)
        values, units = np.repeat(np.where(large, 0.9, 0.1), sizes), np.repeat(np.arange(count), sizes)
        interval = bounded_mean_interval(values, units, 0, 1, draws=1000, seed=seed)
        within += interval.low <= truth <= interval.high
    assert held[0] <= within / 200 <= held[1]
