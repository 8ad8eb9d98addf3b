from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.statistics import paired_interval, tost


def test_tost_agrees_with_two_t_tests():
    """The p is the larger of two one-sided t tests on cluster means, with their 1 - 2 alpha interval."""
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(0.02, 0.1, size=60), np.repeat(np.arange(20), 3)
    means = values.reshape(20, 3).mean(1)
    result = tost(values, clusters, margin=0.05)
    low = stats.ttest_1samp(means, -0.05, alternative="greater").pvalue
    high = stats.ttest_1samp(means, 0.05, alternative="less").pvalue
    interval = stats.ttest_1samp(means, 0).confidence_interval(0.9)
    assert result.p == pytest.approx(max(low, high))
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_verdict_p_and_interval_agree():
    """Equivalent means p at most alpha, and the interval within the margin, also under the guard."""
    rng = np.random.default_rng(1)
    seen = set()
    for _ in range(150):
        count = int(rng.integers(3, 120))
        values = rng.choice([-1.0, 0.0, 0.0, 0.2, 1.0], p=[0.02, 0.5, 0.42, 0.04, 0.02], size=count)
        result = tost(values, np.arange(count), margin=0.1)
        assert result.equivalent == (result.p <= 0.05) == (max(-result.low, result.high) < 0.1)
        seen.add(result.equivalent)
    assert seen == {True, False}


@pytest.mark.parametrize(("n", "power"), [(50, 0.33), (100, 0.82), (200, 0.99)])
def test_tost_has_its_known_power(n, power):
    """A margin of .3 standard deviations is met at the known rates: absence takes many prompts to show."""
    rng = np.random.default_rng(2)
    found = sum(tost(rng.normal(size=n), np.arange(n), 0.3, bound=math.inf).equivalent for _ in range(300))
    assert stats.binomtest(found, 300, power).pvalue > 0.005


def test_tost_keeps_its_false_alarm_rate():
    """An effect as large as the margin, shared in clusters, is called equivalent in 5% of repetitions."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(12), 5)
    alarms = 0
    for _ in range(300):
        shared = rng.normal(0.3, 0.3, size=12)[clusters] + 0.05 * rng.normal(size=60)
        alarms += tost(shared, clusters, margin=0.3, bound=math.inf).equivalent
    assert stats.binomtest(alarms, 300, 0.05, alternative="greater").pvalue > 0.01


def test_no_change_in_few_clusters_is_not_equivalence():
    """All differences 0: 10 clusters do not show a margin of .05, 59 do, as the rule of three has it."""
    few, many = (tost(np.zeros(n), np.arange(n), margin=0.05) for n in (10, 59))
    assert not few.equivalent
    assert few.p == pytest.approx(0.95**10)
    assert many.equivalent
    assert many.high == pytest.approx(1 - 0.05 ** (1 / 59))
    assert many.high == pytest.approx(paired_interval(np.zeros(59), np.arange(59)).high)


def test_clusters_with_equal_means_are_not_certain():
    """Changes that cancel in every cluster give p above 0, and none at all without a bound."""
    values, clusters = [1, -1] * 8, np.repeat(np.arange(8), 2)
    assert tost(values, clusters, margin=0.1).p == pytest.approx(0.9**8)
    assert tost(values, clusters, margin=0.1, bound=math.inf).p == 1.0


def test_a_constant_beyond_the_margin_is_not_equivalent():
    """Differences all equal to more than the margin have p = 1."""
    assert tost(np.full(40, 0.2), np.arange(40), margin=0.1).p == 1.0


def test_what_cannot_be_tested_is_refused():
    """Too few clusters, margins and alphas out of range, and differences beyond the bound raise."""
    with pytest.raises(ValueError, match="at least 3"):
        tost([0.1, 0.2], [0, 1], margin=0.1)
    with pytest.raises(ValueError, match=r"margin is -0\.1"):
        tost([0.1, 0.2, 0.3], [0, 1, 2], margin=-0.1)
    with pytest.raises(ValueError, match=r"alpha is 0\.9"):
        tost([0.1, 0.2, 0.3], [0, 1, 2], margin=0.1, alpha=0.9)
    with pytest.raises(ValueError, match="beyond bound=1"):
        tost([0.1, 3.0, 0.3], [0, 1, 2], margin=0.1)
