"""Intervals for proportions, paired differences and any statistic, from rows that come in clusters.

Rows made from one template, or from one operand family, are not independent. Every interval here that takes
rows also takes their clusters, and resamples or counts whole clusters (Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import (
    Floats,
    Ints,
    as_values,
    cluster_sums,
    index_clusters,
    lack_of_pairs,
    unseen_share,
)

NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A confidence interval, `low` to `high`, that covers the truth in a share `level` of repetitions."""

    low: float
    high: float
    level: float = 0.95

    @property
    def width(self) -> float:
        """`high - low`."""
        return self.high - self.low

    def __str__(self) -> str:
        return f"[{self.low:.2f}, {self.high:.2f}]"


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The score interval of a proportion from independent trials (Wilson 1927).

    Raises:
        ValueError: `n` below 1, `successes` outside 0..n, or `level` outside (0, 1).
    """
    _check_counts(successes, n)
    return _wilson(successes / n, n, level)


def exact(successes: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval of a proportion from independent trials (Clopper & Pearson 1934).

    Raises:
        ValueError: `n` below 1, `successes` outside 0..n, or `level` outside (0, 1).
    """
    from scipy.special import betaincinv

    _check_counts(successes, n)
    tail = (1 - _checked(level)) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return Interval(float(low), float(high), level)


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
    picks = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=draws)
    resampled = (picks @ sums) / (picks @ sizes)[:, None]
    jackknife = (sums.sum(0) - sums) / (sizes.sum() - sizes)[:, None]
    means = array.mean(0)
    return tuple(_bca(means[k], resampled[:, k], jackknife[:, k], level) for k in range(array.shape[1]))


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
    if not (np.isfinite(resampled).all() and np.isfinite(jackknife).all()):
        raise ValueError(
            "statistic is not finite on some resample of the clusters: give more clusters, or define it there"
        )
    return _bca(statistic(np.arange(len(index))), resampled, jackknife, level)


def proportion_interval(
    correct: ArrayLike, clusters: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """The interval of an accuracy whose rows come in clusters: the wider of two at either end.

    The cluster bootstrap alone says `[1.00, 1.00]` of any perfect score, 3 rows or 3,000, and is too narrow
    for few clusters. So it is joined with a Wilson interval on the effective sample: the rows divided by the
    design effect `1 + (m - 1) * icc` (Kish 1965), with the correction for the number of clusters of Korn &
    Graubard (1998). Outcomes that are all equal cannot show whether they come together, so the worst is
    assumed: one independent observation a cluster. That assumption counts as one pair of the rarer outcome
    beside the pairs seen, and so fades smoothly.

    Args:
        correct: (N,) booleans, or 0 and 1.
        clusters: (N,) the cluster of each row.
        level: the coverage asked for.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: values other than 0 and 1, shapes that do not match, or fewer than two clusters.
    """
    values = as_values(correct, "correct")
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError("correct holds values other than 0 and 1: give a boolean for each row")
    index, count = index_clusters(clusters, len(values))
    bootstrap = cluster_bootstrap_mean(values, clusters, level, draws, seed)
    return _widest(bootstrap, _wilson(values.mean(), _effective_sample(values, index, count, level), level))


def paired_interval(
    differences: ArrayLike, clusters: ArrayLike, level: float = 0.95, draws: int = 2000, seed: int = 0
) -> Interval:
    """The interval of a mean paired difference, with the difference of each row in [-1, 1].

    The widest, at either end, of three: the cluster bootstrap; the t interval on cluster totals, which holds
    for few clusters; and what clusters of a kind not seen yet could do. The last decides when the differences
    are all equal: G clusters without a change leave a share up to `1 - alpha ** (1 / G)` of clusters that
    change, each by as much as the range allows. As unequal differences come in, it fades (`lack_of_pairs`).

    Args:
        differences: (N,) treated minus control, each in [-1, 1].
        clusters: (N,) the cluster of each row.
        level: the coverage asked for.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: a difference outside [-1, 1], shapes that do not match, or fewer than two clusters.
    """
    values = as_values(differences, "differences")
    if np.abs(values).max() > 1:
        worst = values[np.abs(values).argmax()]
        raise ValueError(
            f"differences holds {worst:g}: paired differences lie in [-1, 1]; divide by their range"
        )
    index, count = index_clusters(clusters, len(values))
    bootstrap = cluster_bootstrap_mean(values, clusters, level, draws, seed)
    means = cluster_sums(values, index, count) / np.bincount(index)
    unseen = unseen_share(count, 1 - level) * lack_of_pairs(means)
    mean = values.mean()
    guard = Interval(mean - unseen * (mean + 1), mean + unseen * (1 - mean), level)
    return _widest(bootstrap, _student(values, index, count, level), guard, low=-1.0, high=1.0)


def _student(values: Floats, index: Ints, count: int, level: float) -> Interval:
    """The t interval of the mean row from the residual total of each cluster, G - 1 degrees of freedom."""
    residuals = cluster_sums(values - values.mean(), index, count)
    error = sqrt(count / (count - 1) * float(residuals @ residuals)) / len(values)
    reach = _t_quantile(count - 1, level) * error
    return Interval(values.mean() - reach, values.mean() + reach, level)


def _effective_sample(values: Floats, index: Ints, count: int, level: float) -> float:
    """How many independent trials the rows are worth, between the (effective) number of clusters and N."""
    n, sizes = len(values), np.bincount(index)
    per_cluster = float((sizes**2).sum() / n)
    doubt = lack_of_pairs(values)
    together = (1 - doubt) * _intraclass_correlation(values, index, count) + doubt
    few = _t_quantile(n - 1, level) / _t_quantile(count - 1, level)
    return max(n / per_cluster, n / (1 + (per_cluster - 1) * together) * few**2)


def _intraclass_correlation(values: Floats, index: Ints, count: int) -> float:
    """The share of variance between clusters, by analysis of variance (Donner 1986), kept in [0, 1]."""
    n, sizes = len(values), np.bincount(index)
    if n == count or np.ptp(values) == 0:
        return 0.0
    means = cluster_sums(values, index, count) / sizes
    between = float(sizes @ (means - values.mean()) ** 2) / (count - 1)
    within = float(((values - means[index]) ** 2).sum()) / (n - count)
    usual_size = (n - float((sizes**2).sum()) / n) / (count - 1)
    return min(1.0, max(0.0, (between - within) / (between + (usual_size - 1) * within)))


def _wilson(share: float, n: float, level: float) -> Interval:
    z = NORMAL.inv_cdf(0.5 + _checked(level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return Interval(float(low), float(high), level)


def _bca(estimate: float, resampled: Floats, jackknife: Floats, level: float) -> Interval:
    if np.ptp(resampled) <= 1e-12 * max(1.0, abs(estimate)):
        return Interval(float(estimate), float(estimate), level)
    low, high = np.quantile(resampled, _bca_quantiles(estimate, resampled, jackknife, _checked(level)))
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


def _widest(*intervals: Interval, low: float = 0.0, high: float = 1.0) -> Interval:
    """The union of intervals that all hold the estimate, within the range of the quantity."""
    lowest, highest = min(each.low for each in intervals), max(each.high for each in intervals)
    return Interval(float(max(low, lowest)), float(min(high, highest)), intervals[0].level)


def _t_quantile(freedom: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + _checked(level) / 2))


def _checked(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not a share: give one between 0 and 1, such as 0.95")
    return level


def _check_counts(successes: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"n is {n}: a proportion needs at least one trial")
    if not 0 <= successes <= n:
        raise ValueError(f"successes is {successes}: it must lie in 0..{n}, the number of trials")
