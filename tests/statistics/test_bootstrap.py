from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.statistics.bootstrap import cluster_bootstrap_means, cluster_bootstrap_of_means


def of_mean(values, clusters, **options):
    return cluster_bootstrap_means(np.asarray(values, dtype=float)[:, None], clusters, **options)[0]


def test_it_agrees_with_scipy_when_each_row_is_a_cluster():
    """With one row a cluster, the interval is scipy's BCa interval of the mean."""
    values = np.random.default_rng(0).exponential(size=40)
    ours = of_mean(values, np.arange(40), draws=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1))
    reference = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=0.02)


def test_columns_share_resamples():
    """Each column gets the interval it gets alone."""
    rng = np.random.default_rng(3)
    values, clusters = rng.normal(size=(60, 3)), np.repeat(np.arange(15), 4)
    alone = tuple(of_mean(values[:, k], clusters, draws=200) for k in range(3))
    for together, single in zip(cluster_bootstrap_means(values, clusters, draws=200), alone, strict=True):
        assert (together.low, together.high) == pytest.approx((single.low, single.high))


def test_clusters_widen_the_interval():
    """Ten copies of each row, kept together, are worth no more than one."""
    values = np.random.default_rng(4).normal(size=20)
    once = of_mean(values, np.arange(20))
    copied = of_mean(np.repeat(values, 10), np.repeat(np.arange(20), 10))
    assert copied.width == pytest.approx(once.width)


def test_equal_values_have_no_width():
    """The bootstrap of a constant is that constant."""
    interval = of_mean([0.1] * 9, np.repeat([0, 1, 2], [1, 3, 5]))
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1), abs=1e-12)
    assert interval.width == 0


def test_what_has_no_interval_is_refused():
    """One cluster shows no spread, and columns must be finite."""
    with pytest.raises(ValueError, match="at least 2"):
        of_mean([1.0, 2.0], ["a", "a"])
    with pytest.raises(ValueError, match=r"shape \(2, 1\): give a finite"):
        of_mean([1.0, float("nan")], [0, 1])


def test_a_ratio_of_means_is_resampled_whole():
    """The interval of a ratio is the percentiles over resamples of clusters, drawn here one by one."""
    rng = np.random.default_rng(0)
    values, clusters = rng.normal(loc=[2.0, 5.0], size=(24, 2)), np.repeat(np.arange(8), 3)
    (found,) = cluster_bootstrap_of_means(values, clusters, lambda means: means[..., :1] / means[..., 1:])
    ratios = []
    for _ in range(4000):
        rows = np.concatenate([np.flatnonzero(clusters == drawn) for drawn in rng.integers(0, 8, size=8)])
        ratios.append(values[rows, 0].mean() / values[rows, 1].mean())
    assert [found.low, found.high] == pytest.approx(np.quantile(ratios, [0.025, 0.975]), abs=0.02)


def test_a_ratio_that_is_not_defined_is_refused():
    """A denominator that is 0 in some resample is refused, and so are values that are not finite."""
    values = np.array([[1.0, 0.0], [1.0, 1.0]])
    with pytest.raises(ValueError, match="some resamples give no finite number"):
        cluster_bootstrap_of_means(values, [0, 1], lambda means: means[..., :1] / means[..., 1:])
    with pytest.raises(ValueError, match="give a finite"):
        cluster_bootstrap_of_means(values * np.nan, [0, 1], lambda means: means)
