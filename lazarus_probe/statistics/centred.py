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

    Rows are scaled to length 1 first, so that no row outweighs the others; rows of zeros are passed over.
    """
    rows = np.asarray(values, dtype=np.float64)
    sizes = np.sqrt((unit_rows(rows[rows.any(axis=1)]) ** 2).mean(axis=0)) if rows.any() else np.zeros(1)
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
    values: ArrayLike,
    references: ArrayLike | None = None,
    *,
    among: ArrayLike | None = None,
    keep_outliers: bool = False,
) -> StateCosines:
    """Cosines between states (N, ...), centred and without outlier dimensions.

    Args:
        values: (N, ...) states.
        references: (R, ...) other states that the mean is estimated from; by default it is from the states.
        among: (N,) from which of the states, where there are no others; by default from all.
        keep_outliers: give the raw cosines.

    Raises:
        ValueError: a row of zeros, or as `centred_cosines`.
    """
    states = np.asarray(values, dtype=np.float64)
    rows = states.reshape(len(states), -1)
    raw = cosine_matrix(rows)
    if keep_outliers:
        return StateCosines(raw, raw, ())
    left_out = outlier_dimensions(rows)
    if references is not None:
        others = np.asarray(references, dtype=np.float64).reshape(-1, rows.shape[1])
        rows, among = np.concatenate([rows, others]), np.repeat([False, True], [len(rows), len(others)])
    rest = np.delete(rows, [outlier.dimension for outlier in left_out], axis=1)
    return StateCosines(_centred(rest, among, len(states)), raw, left_out)


def centred_cosines(values: ArrayLike, among: ArrayLike | None = None) -> Floats:
    """(N, N) cosines of rows (N, D) about their mean; of rows that have nothing but the mean in common 0 on average.

    Inner products and squared distances are means over all pairs of different reference rows, without bias. The two
    rows of a cosine are no references of it. A row that lies at the mean, as far as float32 tells, has a cosine of 0
    with all others.

    Args:
        values: the rows.
        among: (N,) which rows are references; by default all.

    Raises:
        ValueError: fewer than two references for a pair: four rows at least, where all are references; or not one
            value of `among` for each row.
    """
    rows = np.asarray(values, dtype=np.float64)
    return _centred(rows, among, len(rows))


def _centred(rows: Floats, among: ArrayLike | None, compared: int) -> Floats:
    """(compared, compared) the cosines of the first rows; the others (N, D) serve as references alone."""
    is_reference = np.ones(len(rows)) if among is None else np.asarray(among, dtype=np.float64)
    if is_reference.shape != (len(rows),):
        raise ValueError(f"among has {is_reference.size} values for {len(rows)} rows; give one for each")
    # (N, N) for every pair: of its two rows those that are references, and how many others there are.
    first, second = np.broadcast_arrays(is_reference[:, None], is_reference[None, :])
    count = is_reference.sum() - first - second
    of_pairs = count[:compared, :compared][~np.eye(compared, dtype=bool)]
    if (fewest := int(of_pairs.min(initial=REFERENCES))) < REFERENCES:
        raise ValueError(
            f"{int(is_reference.sum())} rows leave {max(fewest, 0)} to centre a pair on; give at least "
            f"{REFERENCES - fewest} more"
        )
    count = np.where(count < REFERENCES, np.inf, count)  # of the diagonal, and of pairs that are not compared
    norms = np.linalg.norm(rows, axis=1)
    rows = rows - is_reference @ rows / is_reference.sum()
    gram = rows @ rows.T
    own, sums = gram.diagonal(), gram @ is_reference
    # Over the pair's references: the inner products of row i, the squared norms, and the products of different ones.
    of_row = sums[:, None] - first * own[:, None] - second * gram
    squares = is_reference @ own - first * own[:, None] - second * own[None, :]
    everything = is_reference @ sums - 2 * (first * sums[:, None] + second * sums[None, :])
    everything = everything + first * own[:, None] + second * own[None, :] + 2 * first * second * gram
    mean_of_pairs = (everything - squares) / (count * (count - 1))
    inner = gram - (of_row + of_row.T) / count + mean_of_pairs
    to_mean = own[:, None] - 2 * of_row / count
    plain = (
        to_mean + everything / count**2
    )  # the squared distance from the references' mean, with its own error
    resolved = plain > (RESOLVED * norms[:, None]) ** 2
    squared = np.where(resolved, np.maximum(to_mean + mean_of_pairs, LEAST * plain), np.inf)
    cosines = np.clip(inner / np.sqrt(squared * squared.T), -1, 1)[:compared, :compared]
    np.fill_diagonal(cosines, 1)
    return np.asarray((cosines + cosines.T) / 2)
