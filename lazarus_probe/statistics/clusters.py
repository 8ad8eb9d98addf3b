"""Which rows belong together: the sums and counts by cluster that intervals, tests and folds start from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.plain import plain

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]


def as_values(values: ArrayLike, name: str = "values") -> Floats:
    """The values as a float64 vector (N,).

    Raises:
        ValueError: not one-dimensional, empty, or not finite.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size:
        raise ValueError(f"{name} has shape {array.shape}: give one number for each row, at least one")
    if not np.isfinite(array).all():
        raise ValueError(
            f"{name}[{int(np.argmin(np.isfinite(array)))}] is not finite: drop or repair that row"
        )
    return array


def as_names(names: ArrayLike) -> NDArray[Any]:
    """(N,) one name for each row. A row that is a tuple or a list, such as a pair of operands, is one name."""
    if isinstance(names, list | tuple) and any(isinstance(name, list | tuple) for name in names):
        return np.array([str(plain(name)) for name in names])
    array = np.asarray(names)
    return np.array([str(row) for row in array.tolist()]) if array.ndim == 2 else array


def index_clusters(
    clusters: ArrayLike, n: int, at_least: int = 2, name: str = "clusters"
) -> tuple[Ints, int]:
    """Number the clusters from 0.

    Args:
        clusters: (N,) a name or number for each row.
        n: how many rows there must be.
        at_least: how many clusters are needed.
        name: what errors call them.

    Returns:
        The cluster of each row (N,), and the number of clusters.

    Raises:
        ValueError: a length other than `n`, or fewer clusters than `at_least`.
    """
    names = as_names(clusters)
    if names.shape != (n,):
        raise ValueError(f"{name} has shape {names.shape}: give one cluster for each of the {n} rows")
    unique, index = np.unique(names, return_inverse=True)
    if len(unique) < at_least:
        raise ValueError(f"{name} has {len(unique)} distinct value(s): at least {at_least} are needed")
    return index.astype(np.intp), len(unique)


def cluster_sums(values: Floats, index: Ints, count: int) -> Floats:
    """Sum the rows of each cluster: (N, ...) to (G, ...)."""
    sums = np.zeros((count, *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def cluster_means(values: ArrayLike, clusters: ArrayLike) -> Floats:
    """Mean rows of each cluster, in the order in which they first occur: (N, ...) to (G, ...).

    Raises:
        ValueError: not one cluster a row.
    """
    rows, names = np.asarray(values, dtype=np.float64), list(as_names(clusters).tolist())
    if len(names) != len(rows):
        raise ValueError(f"{len(names)} clusters for {len(rows)} rows: give one a row")
    number = {name: index for index, name in enumerate(dict.fromkeys(names))}
    index = np.array([number[name] for name in names], dtype=np.intp)
    sizes = np.bincount(index, minlength=len(number)).reshape(-1, *[1] * (rows.ndim - 1))
    return np.asarray(cluster_sums(rows, index, len(number)) / sizes)
