"""Splits that keep groups whole."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Ints, index_clusters
from lazarus_probe.statistics.rows import NAME, present
from lazarus_probe.statistics.stratified_groups import stratified_group_folds

Kind = Literal["classification", "regression"]
Folds = list[tuple[Ints, Ints]]

# Shuffles tried before a split that trains without one of the classes is given up on.
ATTEMPTS = 20
REMEMBERED = 1024  # splits


def grouped_folds(
    labels: ArrayLike, groups: ArrayLike | None, k: int = 5, seed: int = 0, kind: Kind = "classification"
) -> Folds:
    """Cross-validation splits in which no group is on both sides.

    Rows of one group (a template, an operand family) share more than the label; a probe that saw the
    group in training can score 1.00 on pure noise. Classes are spread evenly over the folds. There are at
    most as many folds as the rarest class has groups: with more, the class held out would be the rarer one in
    training, and the probe would lean against the right answer.

    Args:
        labels: (N,) classes, or numbers for a regression (not looked at).
        groups: (N,) the group of each row.
        k: how many folds, at most.
        seed: of the assignment.
        kind: whether the labels are classes or numbers.

    Returns:
        Pairs of row numbers, (train, test); each row is in one test side.

    Raises:
        ValueError: no groups, fewer than two, one class only, a class in one group only, or `k` below 2
            or too large to keep every class on each training side.
    """
    if k < 2:
        raise ValueError(f"k is {k}: cross-validation needs at least 2 folds")
    codes, index = check_split(labels, groups, kind)
    return list(_split(codes.tobytes(), index.tobytes(), k, seed, kind))


@lru_cache(maxsize=REMEMBERED)
def _split(classes: bytes, clusters: bytes, k: int, seed: int, kind: Kind) -> Folds:
    """The folds; cached, since a probe and all its controls are scored on the same ones."""
    codes, index = (np.frombuffer(codes, dtype=np.intp) for codes in (classes, clusters))
    if kind == "regression":
        from sklearn.model_selection import GroupKFold

        splitter = GroupKFold(min(k, int(index.max()) + 1), shuffle=True, random_state=seed)
        return list(splitter.split(index, None, index))
    k = min(k, int(groups_per_class(codes, index).min()))
    for attempt in range(ATTEMPTS):
        folds = stratified_group_folds(codes, index, k, seed + attempt)
        if all(len(np.unique(codes[train])) == codes.max() + 1 for train, _ in folds):
            return folds
    raise ValueError(f"no split into {k} folds leaves every class on each training side: add groups")


def check_split(labels: ArrayLike, groups: ArrayLike | None, kind: Kind) -> tuple[Ints, Ints]:
    """Refuse rows that cannot be split honestly; number the classes and the groups of the others.

    Returns:
        The class of each row (N,), all 0 for a regression, and the group of each row (N,).

    Raises:
        ValueError: as `grouped_folds`; a label or group that is missing.
    """
    labels = present(labels, "labels")
    if groups is None:
        raise ValueError(
            "a probe with no groups is refused: give the template or operand family of each row as groups"
        )
    if labels.ndim != 1:
        raise ValueError(f"labels has shape {labels.shape}: give one label for each row")
    index, _ = index_clusters(present(groups, "groups", NAME), len(labels))
    if kind == "regression":
        return np.zeros_like(index), index
    classes, codes = encode(labels)
    if len(classes) < 2:
        raise ValueError(f"labels are all {classes[0]!s}: a probe needs at least two classes")
    counts = groups_per_class(codes, index)
    if counts.min() < 2:
        raise ValueError(
            f"class {classes[counts.argmin()]!s} is in one group only: "
            "give each class at least 2, one to train on and one to test"
        )
    return codes, index


def halves(
    labels: ArrayLike,
    groups: ArrayLike | None,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    kind: Kind = "classification",
) -> tuple[Ints, Ints]:
    """One half of the rows to discover on, and the other to confirm on.

    The best of a search looks better than it is on the rows it was chosen on; on held-out rows it does not. The
    independent units stay whole, classes are spread evenly, and each half can be cross-validated by its groups.

    Args:
        labels: (N,) classes, or numbers for a regression (not looked at).
        groups: (N,) what the folds inside each half keep together.
        clusters: (N,) the independent units; the groups, unless said otherwise.
        seed: of the split.
        kind: whether the labels are classes or numbers.

    Returns:
        Row numbers of the discovery half and of the confirmation half, each in order.

    Raises:
        ValueError: as `grouped_folds`, or no split found that leaves each class two groups in either half.
    """
    labels, units = (
        present(labels, "labels"),
        present(groups if clusters is None else clusters, "clusters", NAME),
    )
    check_split(labels, groups, kind)
    problem = None
    for attempt in range(ATTEMPTS):
        first, second = grouped_folds(labels, units, 2, seed + attempt, kind)[0]
        try:
            for rows in (first, second):
                check_split(labels[rows], np.asarray(groups)[rows], kind)
        except ValueError as error:
            problem = error
        else:
            return np.sort(first), np.sort(second)
    raise ValueError(
        f"no half to discover on and half to confirm on can both be tested, give more groups: {problem}"
    )


def halves_of_units(units: ArrayLike, rng: np.random.Generator, fewest: int = 4) -> tuple[Ints, Ints]:
    """Rows of two random halves of the independent units, such as one to choose on and one to test on.

    Unlike `halves` it does not look at labels, so a half may lack a class.

    Args:
        units: (N,) the independent unit of each row; never split between the halves.
        rng: of the draw.
        fewest: how many units are needed.

    Returns:
        Row numbers of either half, in order; the second has the odd unit.

    Raises:
        ValueError: fewer units than `fewest`.
    """
    names = rng.permutation(np.unique(units))
    if len(names) < fewest:
        raise ValueError(
            f"{len(names)} independent units; give at least {fewest}, to make two halves of them"
        )
    second = np.isin(units, names[::2])
    return np.flatnonzero(~second), np.flatnonzero(second)


def random_half(count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    """(count,) whether each of some rows is of a random half of them; the odd one is not."""
    return np.isin(np.arange(count), rng.permutation(count)[: count // 2])


def half_of_groups(
    labels: NDArray[Any], index: Ints, rows: Ints, seed: int = 0, kind: Kind = "classification"
) -> Ints:
    """Those of some rows that are in a random half of their groups, so drawn that every class stays.

    Groups are ordered by the classes they hold, at random among those that hold the same, and every second one is
    taken: each class keeps half of its groups, give or take one.

    Args:
        labels: (N,) classes, or numbers for a regression (not looked at).
        index: (N,) the number of each row's group.
        rows: the row numbers to halve.
        seed: of the draw.
        kind: whether the labels are classes or numbers.

    Raises:
        ValueError: fewer than four groups, or no half found with every class.
    """
    groups = np.unique(index[rows])
    if len(groups) < 4:
        raise ValueError(f"{len(groups)} training groups cannot be halved; give at least 4")
    codes = np.zeros_like(rows) if kind == "regression" else encode(labels[rows])[1]
    held = np.zeros((len(groups), int(codes.max()) + 1), dtype=bool)
    held[np.searchsorted(groups, index[rows]), codes] = True
    for attempt in range(ATTEMPTS):
        ties = np.random.default_rng([seed, attempt]).random(len(groups))
        order = np.lexsort([ties, *held.T])
        taken = order[attempt % 2 :: 2]
        if held[taken].any(0).all():
            return rows[np.isin(index[rows], groups[taken])]
    raise ValueError("no half of the training groups holds every class: add groups")


def groups_per_class(codes: Ints, index: Ints) -> Ints:
    """In how many groups each class occurs: (C,)."""
    held = np.zeros((int(codes.max()) + 1, int(index.max()) + 1), dtype=bool)
    held[codes, index] = True
    return held.sum(1)


def encode(labels: ArrayLike, name: str = "labels") -> tuple[NDArray[Any], Ints]:
    """The classes (C,) in order, and the number of each row's class (N,).

    Raises:
        ValueError: a label that is missing, or classes of types that have no order, such as text and numbers.
    """
    rows = present(labels, name)
    try:
        classes, codes = np.unique(rows, return_inverse=True)
    except TypeError:
        types = sorted({type(label).__name__ for label in rows})
        raise ValueError(f"{name} are of types {', '.join(types)}: give classes of one type") from None
    return classes, codes.astype(np.intp)
