"""The control task of Hewitt & Liang 2019 (arXiv:1909.03368): could the probe have memorised what it seems to read?

A type is something to memorise by, such as a token: it recurs, and predicts the label wherever it does.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints, index_clusters
from lazarus_probe.statistics.folds import Kind, encode
from lazarus_probe.statistics.probes.capped import capped_squares

# Types for each class, at least: with fewer, dealing out classes at random is likely to deal the true ones.
TYPES_PER_CLASS = 4
# And for numbers.
TYPES_OF_NUMBERS = 8


def control_task(
    types: ArrayLike, classes: int, seed: int = 0, shares: ArrayLike | None = None
) -> NDArray[np.intp]:
    """A random class for each type, the same wherever the type occurs.

    A probe that learns it has memorised types, not read a property. Types must recur across the groups of the
    split; held out with its group, a type's class cannot be known.

    Args:
        types: (N,) what could be memorised: the token, or the operand pair.
        classes: how many classes the true task has.
        seed: of the assignment.
        shares: (classes,) the share of types that each class is dealt; equal ones, if left out.

    Returns:
        (N,) classes, 0 to `classes - 1`.

    Raises:
        ValueError: fewer than two classes, or fewer types than classes.
    """
    index = encode(types, "types")[1]
    count = int(index.max()) + 1
    if not 2 <= classes <= count:
        raise ValueError(
            f"classes is {classes}: a control task over {count} types takes 2 to {count} classes"
        )
    ends = np.cumsum(np.ones(classes) if shares is None else np.asarray(shares, dtype=np.float64))
    dealt = np.searchsorted(ends / ends[-1], (np.arange(count) + 0.5) / count)
    return np.asarray(np.random.default_rng(seed).permutation(dealt)[index], dtype=np.intp)


def control_numbers(types: ArrayLike, targets: ArrayLike, seed: int = 0) -> Floats:
    """A random number for each type, drawn from the targets: the control task of a regression, (N,)."""
    index = encode(types, "types")[1]
    values = np.asarray(targets, dtype=np.float64)
    return np.asarray(np.random.default_rng(seed).choice(values, int(index.max()) + 1)[index])


def recurring(types: ArrayLike, groups: ArrayLike) -> NDArray[np.bool_]:
    """(N,) whether a row's type occurs in another group as well."""
    kinds, index = encode(types, "types")[1], encode(groups, "groups")[1]
    pairs = np.unique(np.stack([kinds, index]), axis=1)
    return np.asarray(np.bincount(pairs[0])[kinds] > 1)


def enough_types(types: ArrayLike, groups: ArrayLike, classes: int | None) -> NDArray[np.bool_] | str:
    """The rows that a control task can be taught and tested on, or why there is none.

    Args:
        types: (N,) the type of each row.
        groups: (N,) the group of each row.
        classes: of the true task; None for numbers.

    Returns:
        (N,) the rows whose type recurs in another group, or a sentence.
    """
    kinds = np.asarray(types)
    rows = recurring(kinds, groups)
    count = len(np.unique(kinds[rows]))
    needed = TYPES_OF_NUMBERS if classes is None else TYPES_PER_CLASS * classes
    if count < needed:
        return f"{count} types recur across groups, {needed} are needed"
    if 2 * rows.sum() < len(rows):
        return f"the type of {int(rows.sum())} of {len(rows)} prompts recurs across groups, half are needed"
    return rows


def memorable(
    columns: ArrayLike, labels: ArrayLike, groups: ArrayLike, kind: Kind
) -> tuple[int, float] | None:
    """Which of several candidates for the type says most of the label, and how much memory by it could explain.

    Each is scored as a table would be that is filled from other groups: the label most often seen with the type, or
    the mean number. What counts is what it scores above the best constant answer.

    Args:
        columns: (N, P) the candidates, such as the token at each position.
        labels: (N,) classes or numbers.
        groups: (N,) the group of each row.
        kind: whether the labels are classes or numbers.

    Returns:
        The column and its accuracy above the majority class's (or its capped R2), or None where no table helps.
    """
    candidates, labels = np.asarray(columns), np.asarray(labels)
    index, _ = index_clusters(groups, len(labels))
    if kind == "classification":
        codes = encode(labels)[1]
        values = (codes[:, None] == np.arange(codes.max() + 1)).astype(np.float64)
    else:
        values = (labels.astype(np.float64) - labels.mean())[:, None]
    gains = [_table_gain(encode(column)[1], values, index, kind) for column in candidates.T]
    best = int(np.argmax(gains)) if gains else 0
    return (best, gains[best]) if gains and gains[best] > 0 else None


def _table_gain(types: Ints, values: Floats, index: Ints, kind: Kind) -> float:
    """What a table of types, filled from other groups, scores above the best constant."""
    pairs = encode(types * (index.max() + 1) + index)[1]
    ones = np.ones((len(types), 1))
    elsewhere = [_totals(sums, types) - _totals(sums, pairs) for sums in (values, ones)]
    constant = values.mean(0)
    if kind == "classification":
        guesses = (elsewhere[0] + 1e-3 * constant).argmax(1)  # the share decides where the table does not
        return float((values[np.arange(len(types)), guesses]).mean() - constant.max())
    guess = elsewhere[0] / (elsewhere[1] + 1)  # drawn to the mean, 0, as by one row more of it
    lost, of = (capped_squares(errors, float(values.var())).sum() for errors in (values - guess, values))
    return float(1 - lost / of)


def _totals(values: Floats, index: Ints) -> Floats:
    """The sum over all rows of a row's kind, for each row."""
    sums = np.zeros((index.max() + 1, values.shape[1]))
    np.add.at(sums, index, values)
    return sums[index]
