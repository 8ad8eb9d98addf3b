"""Evidence that there is no effect worth the name."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import (
    Floats,
    as_values,
    cluster_sums,
    index_clusters,
    lack_of_pairs,
    unseen_share,
)


@dataclass(frozen=True)
class Equivalence:
    """What two one-sided tests found.

    Attributes:
        p: the larger of the two p values.
        low: lower end of the `1 - 2 * alpha` interval of the mean.
        high: its upper end.
        equivalent: whether p is at most alpha, so that the effect lies within the margin.
    """

    p: float
    low: float
    high: float
    equivalent: bool


def tost(
    differences: ArrayLike, clusters: ArrayLike, margin: float, alpha: float = 0.05, bound: float = 1.0
) -> Equivalence:
    """Test that a mean paired difference lies within the margin (Schuirmann 1987).

    Two one-sided t tests on cluster means. A p above .05 in a test for an effect is no evidence of its
    absence; this is. Differences without spread would make any t test certain. There, the question is what
    clusters not seen yet could do: a mean beyond the margin needs a share s of clusters that differ, at most
    by what `bound` allows, and p is the chance `(1 - s) ** G` to have met none. As unequal clusters come in,
    that guard fades (`lack_of_pairs`); without a bound it cannot fade, and clusters that nearly all have the
    same mean prove nothing.

    Args:
        differences: (N,) treated minus control.
        clusters: (N,) the cluster of each row; each cluster's mean counts once.
        margin: the largest difference that does not matter, declared beforehand, in the unit of the
            differences.
        alpha: the false-alarm rate allowed.
        bound: the largest difference there can be: 1 for accuracies and probabilities, `math.inf` if there is
            none.

    Raises:
        ValueError: fewer than three clusters, a margin outside (0, bound), an alpha outside (0, .5), or a
            difference beyond the bound.
    """
    values = as_values(differences, "differences")
    if not 0 < margin < bound:
        raise ValueError(
            f"margin is {margin}: give one above 0 and below the largest difference possible, {bound}"
        )
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}: give a rate between 0 and 0.5, such as 0.05")
    if (worst := float(np.abs(values).max())) > bound:
        raise ValueError(
            f"a difference of {worst:g} is beyond bound={bound:g}: pass the largest one there can be"
        )
    index, count = index_clusters(clusters, len(values), at_least=3)
    means = cluster_sums(values, index, count) / np.bincount(index)
    p, low, high = _student(means, margin, alpha)
    if doubt := lack_of_pairs(means):
        p_unseen, low_unseen, high_unseen = _unseen(means, margin, alpha, bound, doubt)
        p, low, high = max(p, p_unseen), min(low, low_unseen), max(high, high_unseen)
    return Equivalence(p, low, high, p <= alpha)


def _student(means: Floats, margin: float, alpha: float) -> tuple[float, float, float]:
    from scipy.special import stdtr, stdtrit

    mean, count = float(means.mean()), len(means)
    error = float(means.std(ddof=1)) / sqrt(count)
    if error <= 1e-12 * margin:
        return (0.0 if abs(mean) < margin else 1.0), mean, mean
    p = max(stdtr(count - 1, (mean - margin) / error), stdtr(count - 1, -(mean + margin) / error))
    reach = float(stdtrit(count - 1, 1 - alpha)) * error
    return float(p), mean - reach, mean + reach


def _unseen(
    means: Floats, margin: float, alpha: float, bound: float, doubt: float
) -> tuple[float, float, float]:
    """The p and interval from clusters of a kind not met, as if those met were all at their mean."""
    mean, count = float(means.mean()), len(means)
    if abs(mean) >= margin:
        return 1.0, mean, mean
    needed = min((margin - mean) / (bound - mean), (margin + mean) / (bound + mean))
    reach = unseen_share(count, alpha) * doubt
    return max(0.0, 1 - needed / doubt) ** count, mean - reach * (bound + mean), mean + reach * (bound - mean)
