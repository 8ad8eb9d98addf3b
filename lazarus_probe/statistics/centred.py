"""Cosines of the states of a language model: centred, and without the few dimensions that outweigh all others.

States of a trained model lie in a narrow cone around a common mean, so that any two have a high cosine (Ethayarajh
2019, arXiv:1909.00512); without the mean they compare better (Mu & Viswanath 2018, arXiv:1702.01417). And one to three
dimensions may make up nearly all of a cosine (Timkey & van Schijndel 2021, arXiv:2109.04404, who call them rogue).

The mean has to be estimated, and one that a row is part of makes cosines of unrelated rows -1 / (N - 1), one that it is
not part of 1 / N. So inner products are averaged over two different reference rows, (x - r) . (y - s), whose errors
are independent: unrelated rows have a cosine of 0 on average, from two reference rows on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import Floats
from lazarus_probe.statistics.cosines import cosine_matrix, unit_rows

# Root mean square of an outlier dimension, over that of the median dimension. Of normal values the largest of thousands
# is 6 times the median magnitude. A dimension of 20 times has a quarter of the squared norm at a width of 576.
OUTLIER = 20.0
# Rows that a mean is estimated from, at least.
REFERENCES = 2
# Least share of the plain squared distance from the mean that the unbiased one is taken to be.
LEAST = 0.25
# Distance from the mean, over the row's norm, below which float32 does not resolve it.
RESOLVED = 1e-5


@dataclass(frozen=True)
class OutlierDimension:
    """A dimension that outweighs the others in any state.

    Attributes:
        dimension: from 0.
        ratio: its root mean square over rows of length 1, over that of the median dimension.
    """

    dimension: int
    ratio: float

    def __str__(self) -> str:
        return f"dimension {self.dimension} ({self.ratio:.0f} x the median)"


@dataclass(frozen=True, eq=False)
class StateCosines:
    """Cosines between states, as they are compared and as they are.

    Attributes:
        matrix: (N, N) centred and without outlier dimensions; or raw, where that was requested.
        raw: (N, N) of the states as they are.
        left_out: the outlier dimensions, the largest first.
    """

    matrix: Floats
    raw: Floats
    left_out: tuple[OutlierDimension, ...]


def outlier_dimensions(values: ArrayLike) -> tuple[OutlierDimension, ...]:
    """The dimensions of rows (N, D) with more than `OUTLIER` times the median root mean square, the largest first.

    Rows are scaled to length 1 first, so that no row outweighs the others.

    Raises:
        ValueError: a row of zeros.
    """
    sizes = np.sqrt((unit_rows(values) ** 2).mean(axis=0))
    median = float(np.median(sizes))
    if median == 0:
        return ()
    above = [
        int(dimension)
        for dimension in np.argsort(-sizes, kind="stable")
        if sizes[dimension] > OUTLIER * median
    ]
    return tuple(OutlierDimension(dimension, float(sizes[dimension] / median)) for dimension in above)


def state_cosines(
    values: ArrayLike, references: ArrayLike | None = None, *, keep_outliers: bool = False
) -> StateCosines:
    """Cosines between states (N, ...), centred and without outlier dimensions.

    Args:
        values: (N, ...) states.
        references: (R, ...) states that the mean is estimated from; by default, for every pair, the other rows.
        keep_outliers: give the raw cosines.

    Raises:
        ValueError: a row of zeros, or as `centred_cosines`.
    """
    rows = np.asarray(values, dtype=np.float64).reshape(len(np.asarray(values)), -1)
    raw = cosine_matrix(rows)
    if keep_outliers:
        return StateCosines(raw, raw, ())
    left_out = outlier_dimensions(rows)
    columns = [outlier.dimension for outlier in left_out]
    rest = np.delete(rows, columns, axis=1)
    others = None
    if references is not None:
        others = np.delete(
            np.asarray(references, dtype=np.float64).reshape(-1, rows.shape[1]), columns, axis=1
        )
    return StateCosines(centred_cosines(rest, others), raw, left_out)


def centred_cosines(values: ArrayLike, references: ArrayLike | None = None) -> Floats:
    """(N, N) cosines of rows (N, D) about their mean; of rows that have nothing but the mean in common 0 on average.

    Inner products and squared distances are means over all pairs of different reference rows, without bias. A row
    that lies at the mean, as far as float32 tells, has a cosine of 0 with all others.

    Args:
        values: the rows.
        references: (R, D) rows to estimate the mean from; by default, for every pair, all rows but these two.

    Raises:
        ValueError: fewer than two reference rows: four rows at least, without others.
    """
    rows = np.asarray(values, dtype=np.float64)
    others = rows if references is None else np.asarray(references, dtype=np.float64)
    count = len(others) - (2 if references is None else 0)
    if count < REFERENCES:
        raise ValueError(
            f"{len(others)} rows leave {max(count, 0)} to centre a pair on; give at least {REFERENCES} more than the pair"
        )
    largest = np.linalg.norm(rows, axis=1)
    shift = others.mean(axis=0)
    rows, others = rows - shift, others - shift
    gram, with_others, among = rows @ rows.T, rows @ others.T, others @ others.T
    own = gram.diagonal()
    # Of row i in the pair (i, j): its sum of inner products with the references, and the references' with each other.
    total = np.repeat(with_others.sum(axis=1)[:, None], len(rows), axis=1)
    between = np.full(gram.shape, among.sum() - np.trace(among))
    if references is None:
        total = total - own[:, None] - gram
        sums = with_others.sum(axis=1)
        between = between - 2 * (sums[:, None] + sums[None, :]) + 2 * (own[:, None] + own[None, :]) + 2 * gram
    mean_of_pairs = between / (count * (count - 1))
    inner = gram - (total + total.T) / count + mean_of_pairs
    squared = own[:, None] - 2 * total / count + mean_of_pairs  # (i, j): of row i about the mean for the pair
    # The same with the references' own errors in it: never negative.
    plain = squared + _spread(own, gram, among, with_others, references is None, count, mean_of_pairs)
    resolved = plain > (RESOLVED * largest[:, None]) ** 2
    squared = np.where(resolved, np.maximum(squared, LEAST * plain), np.inf)
    cosines = np.clip(inner / np.sqrt(squared * squared.T), -1, 1)
    np.fill_diagonal(cosines, 1)
    return np.asarray((cosines + cosines.T) / 2)


def _spread(
    own: Floats,
    gram: Floats,
    among: Floats,
    with_others: Floats,
    leave_out: bool,
    count: int,
    mean_of_pairs: Floats,
) -> Floats:
    """(N, N) by how much the squared norm of the references' mean exceeds its unbiased estimate, for each pair."""
    squares = np.full(gram.shape, np.trace(among))
    if leave_out:
        squares = squares - own[:, None] - own[None, :]
    return (squares + count * (count - 1) * mean_of_pairs) / count**2 - mean_of_pairs
