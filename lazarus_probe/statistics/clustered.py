"""Intervals of proportions and of paired differences, from rows that come in clusters.

Rows made from one template, or from one operand family, are not independent. Every interval here takes the clusters of
its rows, and weights whole clusters (Miller 2024, arXiv:2411.00640).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.bounded import DRAWS, Units, bounded_mean_interval
from lazarus_probe.statistics.clusters import as_values
from lazarus_probe.statistics.intervals import Interval


def proportion_interval(
    correct: ArrayLike, clusters: Units, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The interval of an accuracy whose rows come in clusters: `bounded_mean_interval` from 0 to 1.

    With one row a cluster it is the exact interval of Clopper & Pearson (1934), up to the draws.

    Args:
        correct: (N,) booleans, or 0 and 1.
        clusters: (N,) the cluster of each row, or several kinds of clusters by name.
        level: the coverage.
        draws: of the weights.
        seed: of the weights.

    Raises:
        ValueError: values other than 0 and 1, shapes that do not match, or fewer than two clusters.
    """
    values = as_values(correct, "correct")
    if not np.isin(values, (0.0, 1.0)).all():
        raise ValueError("correct holds values other than 0 and 1: give a boolean for each row")
    return bounded_mean_interval(values, clusters, 0.0, 1.0, level, draws, seed)


def paired_interval(
    differences: ArrayLike,
    clusters: Units,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
    bound: float = 1.0,
) -> Interval:
    """The interval of a mean paired difference: `bounded_mean_interval` from -bound to bound.

    Args:
        differences: (N,) treated minus control.
        clusters: (N,) the cluster of each row, or several kinds of clusters by name.
        level: the coverage.
        draws: of the weights.
        seed: of the weights.
        bound: the largest difference there can be: 1 for accuracies and probabilities, 2 for cosines.

    Raises:
        ValueError: a difference beyond the bound, shapes that do not match, or fewer than two clusters.
    """
    values = as_values(differences, "differences")
    if (worst := values[np.abs(values).argmax()]) and abs(worst) > bound + 1e-9:
        raise ValueError(
            f"differences holds {worst:g}, beyond bound={bound:g}: pass the largest one there can be"
        )
    return bounded_mean_interval(values, clusters, -bound, bound, level, draws, seed)
