"""Bootstrap intervals of means, of anything made of sums, and of any statistic: whole clusters are resampled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import Floats, Ints, as_values, cluster_sums, index_clusters
from lazarus_probe.statistics.intervals import NORMAL, Interval, checked_level


def cluster_bootstrap_mean(
    values: ArrayLike, clusters: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """The bootstrap interval of the mean row, whole clusters resampled with replacement.

    BCa (Efron 1987) with a jackknife over clusters, the plain percentile where BCa is undefined. Values that
    are all equal give an interval of zero width: for proportions and paired differences use
    `proportion_interval` and `paired_interval`, which guard against that. Below about ten clusters any
    bootstrap is too narrow.

    Args:
        values: (N,) numbers.
        clusters: (N,) the cluster of each row.
        level: the coverage asked for.
        draws: how many resamples.
        seed: of the resampling.

    Raises:
        ValueError: shapes that do not match, values not finite, or fewer than two clusters.
    """
    return cluster_bootstrap_means(as_values(values)[:, None], clusters, level, draws, seed)[0]


def cluster_bootstrap_means(
    values: ArrayLike, clusters: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[Interval, ...]:
    """`cluster_bootstrap_mean` for each column of `values` (N, K), say K layers, over the same resamples."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(
            f"values has shape {array.shape}: give a finite (N, K) array, a column for each mean"
        )
    index, count = index_clusters(clusters, len(array))
    sums, sizes = cluster_sums(array, index, count), np.bincount(index).astype(np.float64)
    picks = _resamples(count, draws, seed)
    resampled = (picks @ sums) / (picks @ sizes)[:, None]
    jackknife = (sums.sum(0) - sums) / (sizes.sum() - sizes)[:, None]
    means = array.mean(0)
    return tuple(_bca(means[k], resampled[:, k], jackknife[:, k], level) for k in range(array.shape[1]))


def cluster_bootstrap_sums(
    statistic: Callable[[Floats], Floats],
    columns: ArrayLike,
    clusters: ArrayLike,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The bootstrap interval of whatever is made of sums over rows, such as R2 or a ratio of two means.

    It is `cluster_bootstrap` in a few matrix products, for a statistic that needs no more than sums.

    Args:
        statistic: takes sums of the columns (M, K), one for each resample, and returns the statistic (M,).
        columns: (N, K) what is summed.
        clusters: (N,) the cluster of each row; resampled whole.
        level: the coverage asked for.
        draws: how many resamples.
        seed: of the resampling.

    Raises:
        ValueError: shapes that do not match, fewer than two clusters, or a statistic that is not finite on a resample.
    """
    array = np.asarray(columns, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(
            f"columns has shape {array.shape}: give a finite (N, K) array, a column for each sum"
        )
    index, count = index_clusters(clusters, len(array))
    sums = cluster_sums(array, index, count)
    with np.errstate(divide="ignore", invalid="ignore"):  # refused by name just below
        resampled = statistic(_resamples(count, draws, seed) @ sums)
        jackknife = statistic(sums.sum(0) - sums)
    _check_defined(resampled, jackknife)
    return _bca(float(statistic(sums.sum(0)[None])[0]), resampled, jackknife, level)


def cluster_bootstrap(
    statistic: Callable[[Ints], float],
    clusters: ArrayLike,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> Interval:
    """The bootstrap interval of any statistic of the rows, such as R2 or a difference of two accuracies.

    Args:
        statistic: takes row numbers, with repetitions, and returns the number measured on those rows.
        clusters: (N,) the cluster of each row; resampled whole.
        level: the coverage asked for.
        draws: how many resamples.
        seed: of the resampling.

    Raises:
        ValueError: fewer than two clusters, or a statistic that is not finite on a resample.
    """
    index, count = index_clusters(clusters, len(np.asarray(clusters)))
    rows = [np.flatnonzero(index == g) for g in range(count)]
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, count, size=(draws, count))
    resampled = np.array(
        [statistic(np.concatenate([rows[g] for g in pick])) for pick in picks], dtype=np.float64
    )
    jackknife = np.array([statistic(np.flatnonzero(index != g)) for g in range(count)], dtype=np.float64)
    _check_defined(resampled, jackknife)
    return _bca(statistic(np.arange(len(index))), resampled, jackknife, level)


@lru_cache(maxsize=4)
def _resamples(count: int, draws: int, seed: int) -> Floats:
    """How often each cluster is in each resample (draws, G); kept, as a score and its controls share them."""
    picks = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return picks.astype(np.float64)


def _check_defined(resampled: Floats, jackknife: Floats) -> None:
    if not (np.isfinite(resampled).all() and np.isfinite(jackknife).all()):
        raise ValueError(
            "statistic is not finite on some resample of the clusters: give more clusters, or define it there"
        )


def _bca(estimate: float, resampled: Floats, jackknife: Floats, level: float) -> Interval:
    if np.ptp(resampled) <= 1e-12 * max(1.0, abs(estimate)):
        return Interval(float(estimate), float(estimate), level)
    low, high = np.quantile(resampled, _bca_quantiles(estimate, resampled, jackknife, checked_level(level)))
    return Interval(float(low), float(high), level)


def _bca_quantiles(
    estimate: float, resampled: Floats, jackknife: Floats, level: float
) -> tuple[float, float]:
    """Which quantiles of the resamples bound the interval; the plain ones where BCa is undefined."""
    plain = (1 - level) / 2, (1 + level) / 2
    below = float(np.mean(resampled < estimate) + np.mean(resampled == estimate) / 2)
    away = jackknife.mean() - jackknife
    if not 0 < below < 1 or not away.any():
        return plain
    acceleration = float((away**3).sum() / (6 * (away**2).sum() ** 1.5))
    shifts = [NORMAL.inv_cdf(below) + NORMAL.inv_cdf(share) for share in plain]
    if any(1 - acceleration * shift <= 0 for shift in shifts):
        return plain
    bias = NORMAL.inv_cdf(below)
    low, high = (NORMAL.cdf(bias + shift / (1 - acceleration * shift)) for shift in shifts)
    return low, high
