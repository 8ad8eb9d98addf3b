"""Means over rows with Student's interval, for effects that have no bounds."""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import cluster_means


class Estimate(NamedTuple):
    """A mean over rows and its interval, each of the shape of a row."""

    mean: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]


def signed_estimate(mean: float, low: float, high: float) -> str:
    """A mean with its interval, as in `+1.480 [+1.065, +2.704]`; the mean alone where the bounds are NaN."""
    return f"{mean:+.3f}" if low != low else f"{mean:+.3f} [{low:+.3f}, {high:+.3f}]"


def mean_t_interval(values: ArrayLike, level: float = 0.95) -> Estimate:
    """The mean of independent rows (N, ...) and its t interval (Student 1908); NaN bounds for a single row."""
    from scipy.special import stdtrit

    rows = np.asarray(values, dtype=np.float64)
    mean, count = rows.mean(axis=0), len(rows)
    if count < 2:
        unknown = np.full_like(mean, np.nan)
        return Estimate(mean, unknown, unknown)
    reach = float(stdtrit(count - 1, (1 + level) / 2)) * rows.std(axis=0, ddof=1) / sqrt(count)
    return Estimate(mean, mean - reach, mean + reach)


def clustered_t_interval(values: ArrayLike, units: ArrayLike, level: float = 0.95) -> Estimate:
    """`mean_t_interval` over the means of independent units (N,), each of one or several rows (N, ...)."""
    return mean_t_interval(cluster_means(values, units), level)


def next_above(values: ArrayLike, level: float = 0.95) -> float:
    """The upper end of the prediction interval of one further value, Student's t on those there are (N,).

    Raises:
        ValueError: fewer than three values, whose spread is unknown.
    """
    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < 3:
        raise ValueError(f"{len(sample)} values; give at least 3, for their spread to be known")
    return float(sample.mean()) + prediction_reach(sample, level)


def prediction_reach(values: ArrayLike, level: float = 0.95) -> float:
    """How far from the mean of N values, at least two, a further one may fall: Student's t on their number less one."""
    from scipy.special import stdtrit

    scores = np.asarray(values, dtype=np.float64)
    spread = float(scores.std(ddof=1)) * sqrt(1 + 1 / len(scores))
    return float(stdtrit(len(scores) - 1, (1 + level) / 2)) * spread
