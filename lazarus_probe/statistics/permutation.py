"""Permutation tests that respect groups: only what the null hypothesis makes exchangeable is shuffled."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints, as_values, cluster_sums, index_clusters
from lazarus_probe.statistics.rows import present

Alternative = Literal["two-sided", "greater", "less"]


def group_permutations(
    labels: ArrayLike, groups: ArrayLike, rng: np.random.Generator, draws: int, *, keep_blocks: bool = False
) -> NDArray[Any]:
    """Labels shuffled as the null hypothesis allows: between whole groups, as the probe is tested on whole groups.

    - The label is the same all through each group: the groups are the units, and exchange labels. (Shuffling
      within groups would change nothing, and every p would be 1.) A group keeps its size, so where sizes differ
      the number of rows of a class varies from shuffle to shuffle.
    - Some groups hold several labels, or all do: groups of equal size exchange all their labels, and rows exchange
      theirs inside each group. A group of a size of its own keeps its labels. With `keep_blocks`, each group exchanges
      its own labels among its blocks of rows of one label, and nothing else moves: for rows that fill a few
      templates, one or more for each label, and are no more independent than those of one group.

    Few groups have few arrangements: four groups of two classes have six, and p cannot fall much below 1/6.

    Args:
        labels: (N,) classes or numbers.
        groups: (N,) the group of each row.
        rng: the source of chance.
        draws: how many shuffles.
        keep_blocks: whether the rows of one group and label stay together.

    Returns:
        (draws, N) labels.

    Raises:
        ValueError: one label only, or fewer than two groups.
    """
    labels = present(labels, "labels")
    index, count = index_clusters(groups, len(labels))
    codes = np.unique(labels, return_inverse=True)[1]
    if codes.max() == 0:
        raise ValueError(f"labels are all {labels[0]!r}: nothing to shuffle; give at least two labels")
    label_of_group = np.empty(count, dtype=labels.dtype)
    label_of_group[index] = labels
    if (label_of_group[index] == labels).all():
        return label_of_group[_orders(count, draws, rng)][:, index]
    shuffled = np.empty((draws, len(labels)), dtype=labels.dtype)
    if keep_blocks:
        for group in range(count):
            members = np.flatnonzero(index == group)
            own, block_of_row = np.unique(labels[members], return_inverse=True)
            shuffled[:, members] = own[_orders(len(own), draws, rng)[:, block_of_row]]
        return shuffled
    for rows in _by_size(index):
        blocks = labels[rows][_orders(len(rows), draws, rng)]
        shuffled[:, rows] = rng.permuted(blocks, axis=2) if rows.shape[1] > 1 else blocks
    return shuffled


def _orders(count: int, draws: int, rng: np.random.Generator) -> Ints:
    """(draws, count) orders of that many things."""
    return rng.permuted(np.tile(np.arange(count), (draws, 1)), axis=1)


def _by_size(index: Ints) -> list[Ints]:
    """The rows of the groups of each size: arrays (groups, size)."""
    sizes = np.bincount(index)
    order = np.argsort(index, kind="stable")
    starts = np.cumsum(sizes) - sizes
    return [order[starts[sizes == size][:, None] + np.arange(size)] for size in np.unique(sizes)]


def permutation_p(observed: float, null: ArrayLike) -> float:
    """How often chance does at least as well (Phipson & Smyth 2010).

    `(1 + #{null >= observed}) / (draws + 1)`: the arrangement observed counts as one of the draws, so p is
    never 0. Scores that differ by rounding count as ties.

    Raises:
        ValueError: an empty null, or numbers that are not finite.
    """
    return float(max_statistic_p([observed], as_values(null, "null")[:, None])[0])


def max_statistic_p(observed: ArrayLike, null: ArrayLike) -> Floats:
    """The p of each of K statistics, corrected for having looked at all of them (Westfall & Young 1993).

    Each is compared with the largest of the K in every draw, so the family-wise false-alarm rate is kept
    however strongly layers depend on each other. The K must be on one scale, such as accuracy.

    Args:
        observed: (K,) say one for each layer.
        null: (draws, K), each row one shuffle applied to all K: for `permutation_null`, the same seed at
            every layer.

    Returns:
        (K,) p values.

    Raises:
        ValueError: shapes that do not match, no draws, or numbers that are not finite.
    """
    scores, chance = _statistics(observed, null)
    return largest_statistic_p(scores, chance.max(1))


def largest_statistic_p(observed: ArrayLike, largest: ArrayLike) -> Floats:
    """As `max_statistic_p`, from the largest statistic (draws,) of every draw, where all of them would not fit.

    Raises:
        ValueError: no draws, or numbers that are not finite.
    """
    scores, chance = as_values(observed, "observed"), np.sort(as_values(largest, "largest"))
    at_least = len(chance) - np.searchsorted(chance, scores - _rounding(scores))
    return np.asarray((1 + at_least) / (len(chance) + 1), dtype=np.float64)


def step_down_p(observed: ArrayLike, null: ArrayLike) -> Floats:
    """As `max_statistic_p`, but each statistic is compared only with those that are no larger than itself.

    The free step-down maximum of Westfall & Young 1993 (Algorithm 2.8): the largest statistic is compared with the
    largest of all K in every draw, the second with the largest of the rest, and so on; no p is below the one before.
    So a few real effects, whose chance values are large too, do not hide the others. The family-wise false-alarm rate
    is kept whichever of the K nulls hold: the largest statistic whose null holds is compared with a maximum over all
    of them.

    Args, return value and errors are those of `max_statistic_p`.
    """
    scores, chance = _statistics(observed, null)
    order = np.argsort(-scores, kind="stable")
    # In every draw the largest of the statistics from this one down.
    rest = np.maximum.accumulate(chance[:, order[::-1]], axis=1)[:, ::-1]
    at_least = rest >= scores[order] - _rounding(scores[order])
    p = np.empty(len(scores))
    p[order] = np.maximum.accumulate((1 + at_least.sum(0)) / (len(chance) + 1))
    return p


def sign_step_down(rows: ArrayLike, draws: int = 2000, seed: int = 0) -> Floats:
    """The p of each mean gain being above 0, when under the null a row could as well have the other sign.

    A row's gains change sign together, so that their dependence is kept, and p is corrected for all of them
    (`step_down_p`). With fewer than 5 rows no p is below .05.

    Args:
        rows: (R, K) gains, of independent rows.
        draws: how many sign patterns, at most; all of them where there are no more.
        seed: of the draws.

    Returns:
        (K,) p values.

    Raises:
        ValueError: no rows, or numbers that are not finite.
    """
    values = np.asarray(rows, dtype=np.float64)
    signs = other_signs(len(values), draws, seed)
    return step_down_p(values.mean(axis=0), signs @ values / len(values))


def _rounding(scores: Floats) -> Floats:
    """How far a draw may fall short of a score and still count as a tie."""
    return np.asarray(1e-9 * np.maximum(1e-3, np.abs(scores)))


def _statistics(observed: ArrayLike, null: ArrayLike) -> tuple[Floats, Floats]:
    """(K,) statistics and (draws, K) of chance, if they match and are finite."""
    scores, chance = as_values(observed, "observed"), np.asarray(null, dtype=np.float64)
    if chance.ndim != 2 or not len(chance) or chance.shape[1] != len(scores):
        raise ValueError(
            f"null has shape {chance.shape}: give (draws, {len(scores)}), a column for each statistic"
        )
    if not np.isfinite(chance).all():
        raise ValueError("null holds numbers that are not finite: a score must be defined for every draw")
    return scores, chance


def other_signs(rows: int, draws: int = 9999, seed: int = 0) -> Floats:
    """Sign patterns (S, rows) of +1 and -1 for a null of sign flips: all but the observed one, or as many draws.

    All `2 ** rows - 1` of them where they are no more than `draws`, so that p is exact.

    Raises:
        ValueError: no rows.
    """
    if rows < 1:
        raise ValueError(f"rows is {rows}; give at least 1 whose sign can change")
    return _all_signs(rows)[1:] if 2**rows <= draws + 1 else _drawn_signs(rows, draws, seed)[1:]


def sign_flip(
    differences: ArrayLike,
    clusters: ArrayLike,
    draws: int = 9999,
    seed: int = 0,
    alternative: Alternative = "two-sided",
) -> float:
    """The p of a mean paired difference, when under the null each cluster could as well have the other sign.

    All `2 ** G` sign patterns are counted when they are no more than `draws`; otherwise `draws` of them are
    drawn and the observed one is added.

    Args:
        differences: (N,) treated minus control.
        clusters: (N,) the cluster of each row; its rows keep a common sign.
        draws: how many patterns, at most.
        seed: of the draws.
        alternative: whether the mean is not 0, above 0, or below 0.

    Raises:
        ValueError: shapes that do not match, values not finite, fewer than two clusters, or an unknown
            alternative.
    """
    values = as_values(differences, "differences")
    index, count = index_clusters(clusters, len(values))
    sums = cluster_sums(values, index, count) / len(values)
    signs = _all_signs(count) if 2**count <= draws else _drawn_signs(count, draws, seed)
    null, observed = _toward(signs @ sums, alternative), _toward(np.array([sums.sum()]), alternative)
    return float(np.mean(null >= observed - 1e-9 * np.abs(null).max()))


def _toward(means: Floats, alternative: Alternative) -> Floats:
    """The means so turned that larger means further from the null."""
    if alternative == "two-sided":
        return np.abs(means)
    if alternative == "greater":
        return means
    if alternative == "less":
        return -means
    raise ValueError(f"alternative is {alternative!r}: it must be 'two-sided', 'greater' or 'less'")


def _all_signs(count: int) -> Floats:
    bits = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
    return np.asarray(1 - 2 * bits, dtype=np.float64)


def _drawn_signs(count: int, draws: int, seed: int) -> Floats:
    """Sign patterns (draws + 1, G), the first of them the one observed."""
    drawn = 1.0 - 2.0 * np.random.default_rng(seed).integers(0, 2, size=(draws, count))
    return np.vstack([np.ones(count), drawn])
