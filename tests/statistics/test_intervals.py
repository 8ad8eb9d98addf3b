from __future__ import annotations

import pytest
from scipy import stats

from lazarus_probe.statistics.intervals import exact, wilson


@pytest.mark.parametrize("successes", [0, 1, 7, 15, 16])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_proportions_agree_with_scipy(successes, level):
    """Wilson and exact intervals are those of scipy's binomial test."""
    trial = stats.binomtest(successes, 16)
    for ours, method in ((wilson, "wilson"), (exact, "exact")):
        interval, reference = ours(successes, 16, level), trial.proportion_ci(level, method)
        assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_eight_of_eight_does_not_beat_two_of_eight():
    """The exact intervals of 8/8 and 2/8 overlap: eight prompts are too few for that comparison."""
    assert exact(8, 8).low < exact(2, 8).high


def test_counts_out_of_range_are_refused():
    """Impossible counts and levels raise and say what would be right."""
    with pytest.raises(ValueError, match="at least one trial"):
        wilson(0, 0)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.5"):
        exact(6, 5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, level=95)


def test_intervals_print_briefly():
    """An interval prints as its two ends."""
    assert str(wilson(5, 10)) == "[0.24, 0.76]"
