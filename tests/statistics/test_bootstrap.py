from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.statistics import cluster_bootstrap, cluster_bootstrap_mean, cluster_bootstrap_sums


def ratio(sums):
    return sums[:, 0] / sums[:, 1]


def test_sums_give_the_interval_of_any_statistic():
    """A ratio of sums has the interval that resampling its rows one by one gives, within the error of the draws."""
    rng = np.random.default_rng(0)
    columns, clusters = rng.gamma(2.0, size=(90, 2)), np.repeat(np.arange(30), 3)
    fast = cluster_bootstrap_sums(ratio, columns, clusters, draws=4000)
    slow = cluster_bootstrap(
        lambda rows: float(columns[rows, 0].sum() / columns[rows, 1].sum()), clusters, draws=4000
    )
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.03)
    assert fast.width > 0.2


def test_a_mean_is_a_ratio_of_sums():
    """Over the number of rows, a sum has exactly the interval of the mean."""
    rng = np.random.default_rng(1)
    values, clusters = rng.normal(size=60), rng.integers(0, 12, size=60)
    whole = cluster_bootstrap_sums(ratio, np.stack([values, np.ones(60)], axis=1), clusters, seed=5)
    mean = cluster_bootstrap_mean(values, clusters, seed=5)
    assert (whole.low, whole.high) == pytest.approx((mean.low, mean.high))


def test_the_interval_of_a_ratio_covers_it():
    """95% intervals of a ratio of means hold the true one in about 95% of repetitions."""
    rng, clusters, held = np.random.default_rng(2), np.repeat(np.arange(25), 2), 0
    for draw in range(200):
        shared = rng.gamma(4.0, size=(25, 2))[clusters]
        interval = cluster_bootstrap_sums(
            ratio, shared * rng.gamma(9.0, size=(50, 2)), clusters, draws=400, seed=draw
        )
        held += interval.low <= 1 <= interval.high
    assert 0.89 <= held / 200 <= 0.99


def test_sums_that_give_no_number_are_refused():
    """A statistic that some resample leaves undefined raises, and so do columns that are not finite."""
    with pytest.raises(ValueError, match="not finite on some resample"):
        cluster_bootstrap_sums(ratio, [[1.0, 0.0], [1.0, 1.0], [1.0, 0.0]], [0, 1, 2])
    with pytest.raises(ValueError, match=r"shape \(3,\)"):
        cluster_bootstrap_sums(ratio, [1.0, 2.0, 3.0], [0, 1, 2])
