from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.statistics.effect_size import cohens_d


def test_the_variance_is_pooled_over_both_groups():
    """It is the difference of means over the root of all squared deviations by N - 2, for groups of any size."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(2, 1, 5), rng.normal(0, 3, 40)
    variance = (4 * first.var(ddof=1) + 39 * second.var(ddof=1)) / 43
    assert cohens_d(first, second) == pytest.approx((first.mean() - second.mean()) / np.sqrt(variance))
    assert cohens_d(second, first) == -cohens_d(first, second)


def test_few_values_do_not_make_it_large():
    """Over many draws of four values a group, one deviation apart, its mean is near one; small samples add a little."""
    rng = np.random.default_rng(0)
    drawn = [cohens_d(rng.normal(1, 1, 4), rng.normal(0, 1, 4)) for _ in range(4000)]
    # Hedges (1981): the expectation is d / (1 - 3 / (4 * 6 - 1)).
    assert np.mean(drawn) == pytest.approx(1 / (1 - 3 / 23), abs=0.05)


@pytest.mark.parametrize(
    ("first", "second"),
    [([1, 1, 1], [0, 0, 0]), ([1], [0]), ([], [1, 2]), ([1, 2], []), ([1e9, 1e9], [0, 0])],
)
def test_without_spread_it_is_undefined(first, second):
    """No spread in either group, one value in each, or an empty group: there is no d."""
    assert cohens_d(first, second) is None
