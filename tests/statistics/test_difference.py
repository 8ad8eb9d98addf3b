from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.intervals import Interval, wilson


def of_counts(a, n, b, m):
    return difference_interval(a / n, wilson(a, n), b / m, wilson(b, m))


@pytest.mark.parametrize(
    ("counts", "low", "high"),
    [((56, 70, 48, 80), 0.0524, 0.3339), ((9, 10, 3, 10), 0.1705, 0.8090), ((10, 10, 0, 20), 0.6791, 1.0000)],
)
def test_newcombe(counts, low, high):
    """For proportions it is the hybrid score interval, at the values that Newcombe (1998, table II) prints."""
    found = of_counts(*counts)
    assert (found.low, found.high) == pytest.approx((low, high), abs=5e-5)


def test_perfect_scores_of_few_rows_may_differ():
    """Two perfect scores of ten rows differ by 0, give or take what ten rows can hide."""
    found = of_counts(10, 10, 10, 10)
    assert found.low == pytest.approx(-found.high)
    assert found.high == pytest.approx(1 - wilson(10, 10).low)


def test_antisymmetric():
    """Swapping the two turns the interval over."""
    one, other = of_counts(9, 12, 3, 20), of_counts(3, 20, 9, 12)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low))


def test_coverage():
    """Over repetitions it covers the true difference at about its level, for small samples too."""
    rng = np.random.default_rng(0)
    n, m, p, q = 15, 20, 0.8, 0.55
    draws = zip(rng.binomial(n, p, 2000), rng.binomial(m, q, 2000), strict=True)
    covered = sum(of_counts(a, n, b, m).low <= p - q <= of_counts(a, n, b, m).high for a, b in draws)
    assert 0.93 < covered / 2000 < 0.98


def test_normal_intervals_add_in_squares():
    """For symmetric intervals it is the interval of a difference of independent normal means."""
    z = stats.norm.ppf(0.975)
    found = difference_interval(2.0, Interval(2 - 3 * z, 2 + 3 * z), 1.0, Interval(1 - 4 * z, 1 + 4 * z))
    assert (found.low, found.high) == pytest.approx((1 - 5 * z, 1 + 5 * z))


def test_refusals():
    """An estimate outside its interval, and levels that differ, are named."""
    with pytest.raises(ValueError, match=r"estimate 0.9 lies outside its interval \[0.10, 0.20\]"):
        difference_interval(0.9, Interval(0.1, 0.2), 0.5, Interval(0.4, 0.6))
    with pytest.raises(ValueError, match=r"levels 0.9 and 0.95 differ: give intervals of one level"):
        difference_interval(0.5, Interval(0.4, 0.6, 0.9), 0.5, Interval(0.4, 0.6))
