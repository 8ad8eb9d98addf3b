"""Intervals of proportions and paired differences, from rows that come in clusters.

Rows made from one template, or from one operand family, are not independent. Every interval here takes the clusters of
its rows, and resamples or counts whole clusters (Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.bootstrap import cluster_bootstrap_mean
from lazarus_probe.statistics.clusters import (
    Floats,
    Ints,
    as_values,
    cluster_sums,
    index_clusters,
    lack_of_pairs,
    unseen_share,
)
from lazarus_probe.statistics.intervals import Interval, checked_level, wilson_interval


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
    return _widest(
        bootstrap, wilson_interval(values.mean(), _effective_sample(values, index, count, level), level)
    )


def paired_interval(
    differences: ArrayLike,
    clusters: ArrayLike,
    level: float = 0.95,
    draws: int = 2000,
    seed: int = 0,
    bound: float = 1.0,
) -> Interval:
    """The interval of a mean paired difference, with the difference of each row in [-bound, bound].

    The widest, at either end, of four: the cluster bootstrap; the t interval on cluster totals, which holds
    for few clusters; what clusters of a kind not seen yet could do; and where rows change all the way or not at all,
    and all in one direction, the interval of that proportion, since the first two fall short of a skewed one. The third
    decides when the differences are all equal: G clusters without a change leave a share up to
    `1 - alpha ** (1 / G)` of clusters that change, each by as much as the range allows. As unequal differences
    come in, it fades (`lack_of_pairs`).

    Args:
        differences: (N,) treated minus control.
        clusters: (N,) the cluster of each row.
        level: the coverage asked for.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.
        bound: the largest difference there can be: 1 for accuracies and probabilities, 2 for cosines.

    Raises:
        ValueError: a difference beyond the bound, shapes that do not match, or fewer than two clusters.
    """
    values = as_values(differences, "differences") / bound
    if np.abs(values).max() > 1:
        worst = bound * values[np.abs(values).argmax()]
        raise ValueError(
            f"differences holds {worst:g}, beyond bound={bound:g}: pass the largest one there can be"
        )
    index, count = index_clusters(clusters, len(values))
    bootstrap = cluster_bootstrap_mean(values, clusters, level, draws, seed)
    means = cluster_sums(values, index, count) / np.bincount(index)
    unseen = unseen_share(count, 1 - level) * lack_of_pairs(means)
    mean = values.mean()
    guard = Interval(mean - unseen * (mean + 1), mean + unseen * (1 - mean), level)
    known = (bootstrap, _student(values, index, count, level), guard)
    found = _widest(*known, *_one_way(values, index, count, level), low=-1.0, high=1.0)
    return Interval(bound * found.low, bound * found.high, level)


def _one_way(values: Floats, index: Ints, count: int, level: float) -> tuple[Interval, ...]:
    """The interval of differences that are all 0 or 1, or all 0 or -1; none for others."""
    sign = float(np.sign(values.sum()))
    if not sign or not np.isin(values, (0.0, sign)).all():
        return ()
    share = np.abs(values)
    found = wilson_interval(share.mean(), _effective_sample(share, index, count, level), level)
    ends = sorted((sign * found.low, sign * found.high))
    return (Interval(ends[0], ends[1], level),)


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


def _widest(*intervals: Interval, low: float = 0.0, high: float = 1.0) -> Interval:
    """The union of intervals that all hold the estimate, within the range of the quantity."""
    lowest, highest = min(each.low for each in intervals), max(each.high for each in intervals)
    return Interval(float(max(low, lowest)), float(min(high, highest)), intervals[0].level)


def _t_quantile(freedom: int, level: float) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.5 + checked_level(level) / 2))
