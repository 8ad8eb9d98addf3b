"""Bootstrap intervals of means without a known range, such as nats: whole clusters are resampled."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import Floats, cluster_sums, index_clusters
from lazarus_probe.statistics.intervals import NORMAL, Interval, checked_level


def cluster_bootstrap_means(
    values: ArrayLike, clusters: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> tuple[Interval, ...]:
    """The bootstrap interval of the mean of each column, say of K layers, whole clusters resampled with replacement.

    BCa (Efron 1987) with a jackknife over clusters, the plain percentile where BCa is undefined. Below about ten
    clusters any bootstrap is too narrow, and values that are all equal give an interval of zero width. What has a range
    takes `bounded_mean_interval` instead.

    Args:
        values: (N, K) numbers.
        clusters: (N,) the cluster of each row.
        level: the coverage.
        draws: resamples.
        seed: of the resampling.

    Raises:
        ValueError: shapes that do not match, values not finite, or fewer than two clusters.
    """
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


def cluster_bootstrap_of_means(
    values: ArrayLike,
    clusters: ArrayLike,
    of_means: Callable[[Floats], Floats],
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
) -> tuple[Interval, ...]:
    """Percentile intervals of numbers that are made of several means, such as a ratio of two differences.

    Args:
        values: (N, K) numbers.
        clusters: (N,) the cluster of each row.
        of_means: from means (..., K) to M numbers (..., M).
        level: the coverage.
        draws: resamples of whole clusters.
        seed: of the resampling.

    Raises:
        ValueError: shapes that do not match, values or results that are not finite, or fewer than two clusters.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise ValueError(
            f"values has shape {array.shape}: give a finite (N, K) array, a column for each mean"
        )
    index, count = index_clusters(clusters, len(array))
    sums, sizes = cluster_sums(array, index, count), np.bincount(index).astype(np.float64)
    picks = _resamples(count, draws, seed)
    with np.errstate(divide="ignore", invalid="ignore"):
        results = of_means((picks @ sums) / (picks @ sizes)[:, None])
    if not np.isfinite(results).all():
        raise ValueError("some resamples give no finite number; give values whose ratio is defined in each")
    tail = (1 - checked_level(level)) / 2
    low, high = np.quantile(results, [tail, 1 - tail], axis=0)
    return tuple(Interval(float(a), float(b), level) for a, b in zip(low, high, strict=True))


@lru_cache(maxsize=4)
def _resamples(count: int, draws: int, seed: int) -> Floats:
    """How often each cluster is in each resample (draws, G); kept, as a score and its controls share them."""
    picks = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    return picks.astype(np.float64)


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
