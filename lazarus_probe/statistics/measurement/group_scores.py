"""What each independent unit scored, kept so that a later measurement of the same prompts can be paired with it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.bounded import Units, kinds_of
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.permutation import sign_flip
from lazarus_probe.statistics.student import mean_t_interval

GroupScores = Mapping[str, tuple[float, int]]
DECIMALS = 6


class PairedDifference(NamedTuple):
    """How far a score moved on the same prompts.

    Attributes:
        score: the new mean less the old one.
        interval: Student's, over units; of the change on prompts like these.
        p: two-sided, of signs that chance alone gives to the changes of units.
    """

    score: float
    interval: Interval
    p: float


def group_scores(values: ArrayLike, units: Units) -> dict[str, tuple[float, int]]:
    """The mean of each independent unit and its number of rows, of the kind of units that there are fewest of.

    Units go by a hash of their name: names may be whole prompts.

    Args:
        values: (N,) scores of rows, whose mean is the score.
        units: (N,) the independent unit of each row, or several kinds of them by name.
    """
    rows = np.asarray(values, dtype=np.float64)
    names = min(kinds_of(units).values(), key=lambda names: len(np.unique(names)))
    distinct, index = np.unique(names, return_inverse=True)
    counts = np.bincount(index)
    means = np.bincount(index, rows) / counts
    return {
        _code(name): (round(float(mean), DECIMALS), int(count))
        for name, mean, count in zip(distinct.tolist(), means, counts, strict=True)
    }


def _code(name: object) -> str:
    return hashlib.blake2b(str(name).encode("utf-8", "surrogatepass"), digest_size=5).hexdigest()


def paired_difference(now: GroupScores, before: GroupScores) -> PairedDifference | None:
    """The difference of two means on the same units; None where the units are others, or fewer than two.

    Where a model did not change every difference is 0; where it did the same prompts cancel what they have in common,
    so that far smaller changes can be detected than from two independent estimates. With five units p is 1/16 at least.
    """
    if len(now) < 2 or _rows(now) != _rows(before):
        return None
    rows = np.array([count for _, count in now.values()], dtype=np.float64)
    moved = np.array([mean - before[name][0] for name, (mean, _) in now.items()])
    weighted = moved * rows * len(rows) / rows.sum()  # their mean is the difference of the scores
    if not weighted.any():
        return PairedDifference(0.0, Interval(0.0, 0.0), 1.0)
    mean, low, high = mean_t_interval(weighted)
    p = sign_flip(weighted, np.arange(len(weighted)))
    return PairedDifference(float(mean), Interval(float(low), float(high)), p)


def _rows(scores: GroupScores) -> dict[str, int]:
    """By unit its number of rows."""
    return {name: count for name, (_, count) in scores.items()}


def movement(now: GroupScores, before: GroupScores) -> float | None:
    """How far units moved on average, up or down, on the same prompts; None where the units are others.

    Where as many prompts are lost as are won the score stays and this does not.
    """
    rows = _rows(before)
    if not rows or rows != _rows(now):
        return None
    moved = (abs(mean - before[name][0]) * count for name, (mean, count) in now.items())
    return sum(moved) / sum(rows.values())
