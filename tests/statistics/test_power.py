from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.power import implied_p, required_groups


def test_p_is_read_off_the_interval():
    """Within the interval of a normal mean the p against a null is that of its z test, on either side of the null."""
    for mean in (0.2, 0.0, 0.1):
        p = implied_p(mean, mean - 1.96 * 0.1, mean + 1.96 * 0.1, null=0.1)
        assert p == pytest.approx(norm.sf((mean - 0.1) / 0.1), rel=1e-3)
    assert implied_p(0.5, 0.4, 0.6, null=0.4) == pytest.approx(0.025)
    assert (implied_p(0.9, 0.9, 0.9, null=0.9), implied_p(0.8, 0.8, 0.8, null=0.9)) == (0.0, 1.0)


def test_five_groups_have_no_tiny_p():
    """Five runs at 0 are no evidence of 1e-17 against any threshold."""
    interval = bounded_mean_interval(np.zeros(5), np.arange(5), 0, 1)
    assert implied_p(-0.0, -interval.high, -interval.low, null=-0.9) > 1e-4


@pytest.mark.parametrize(
    ("groups", "score", "effect", "threshold"),
    [(20, 0.8, 0.9, 0.8), (30, 0.6, 0.75, 0.5), (20, 1.0, 0.95, 0.9), (40, 0.2, 0.05, 0.15)],
)
def test_required_groups_have_the_power(groups, score, effect, threshold):
    """With the number of groups given, simulated intervals clear the threshold in four of five cases."""
    rng, sign = np.random.default_rng(0), 1 if effect > threshold else -1
    known = bounded_mean_interval(np.arange(groups) < round(score * groups), np.arange(groups), 0, 1)
    reach = score - known.low if sign > 0 else known.high - score
    needed = required_groups(groups, score, reach, effect, threshold)
    cleared = [
        _cleared(bounded_mean_interval(rng.random(needed) < effect, np.arange(needed), 0, 1), threshold, sign)
        for _ in range(200)
    ]
    assert 0.7 <= np.mean(cleared) <= 0.9


def _cleared(interval, threshold, sign):
    return interval.low >= threshold if sign > 0 else interval.high <= threshold


def test_groups_that_agree_need_fewer():
    """Where groups differ little, fewer of them will do than where they are all or nothing."""
    values = np.random.default_rng(0).normal(0.7, 0.05, 16)
    known = bounded_mean_interval(values, np.arange(16), 0, 1)
    alike = required_groups(16, float(values.mean()), float(values.mean()) - known.low, 0.7, 0.5)
    assert alike < required_groups(16, 0.5, 0.25, 0.7, 0.5) / 1.5


def test_no_number_is_given_where_none_would_do():
    """An effect on the threshold is never told from it, nor is one so near that tens of thousands would be needed."""
    assert required_groups(16, 0.7, 0.2, effect=0.5, threshold=0.5) is None
    assert required_groups(16, 0.7, 0.2, effect=0.5001, threshold=0.5) is None
    with pytest.raises(ValueError, match=r"effect is 1\.2: give one within 0 to 1"):
        required_groups(16, 0.7, 0.2, effect=1.2, threshold=0.5)
