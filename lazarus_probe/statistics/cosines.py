"""Cosine similarity of rows of numbers, in float64."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import Floats


def unit_rows(values: ArrayLike) -> Floats:
    """Rows (N, ...) flattened to (N, D) and divided by their norms.

    Raises:
        ValueError: a row of zeros.
    """
    rows = _flat(values)
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    if not norms.all():
        raise ValueError(f"row {int(norms.argmin())} is all zeros and has no cosine with another")
    return np.asarray(rows / norms)


def cosine_matrix(values: ArrayLike) -> Floats:
    """(N, N) cosines between all rows (N, ...); that of a row with itself is 1.

    Raises:
        ValueError: a row of zeros.
    """
    units = unit_rows(values)
    matrix = np.clip(units @ units.T, -1, 1)
    np.fill_diagonal(matrix, 1)
    return np.asarray((matrix + matrix.T) / 2)


def paired_cosines(first: ArrayLike, second: ArrayLike) -> Floats:
    """(N,) cosines of rows (N, ...), one pair at a time: exactly 1 for equal rows, 0 with a row of zeros."""
    left, right = _flat(first), _flat(second)
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosines = np.divide((left * right).sum(axis=1), norms, out=np.zeros(len(left)), where=norms > 0)
    return np.where((left == right).all(axis=1), 1.0, np.clip(cosines, -1, 1))


def mean_cosine(values: ArrayLike) -> float:
    """The mean cosine of two different rows (N, ...), N at least 2.

    Raises:
        ValueError: a row of zeros.
    """
    units = unit_rows(values)
    total, count = units.sum(axis=0), len(units)
    return float((total @ total - count) / (count * (count - 1)))


def _flat(values: ArrayLike) -> Floats:
    rows = np.asarray(values, dtype=np.float64)
    return rows.reshape(len(rows), -1)
