"""Repeated random tokens, and the same with the second half in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.subject.random_tokens import random_rows

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Rows:
    """Random tokens: `repeated` and `shuffled` (R, start + 2 T), where `start` tokens come before the first half."""

    repeated: NDArray[np.int32]
    shuffled: NDArray[np.int32]
    start: int
    length: int


def repeated_tokens(
    subject: Subject, length: int, rows: int, vocabulary: Sequence[int] | None = None, seed: int = 0
) -> Rows:
    """Rows of `length` different random tokens, repeated once, and rows with the second half in another order.

    In the other order, no token has its position of the first half, nor the token before it.

    Raises:
        ValueError: a length below 4, or fewer tokens to draw from.
    """
    if length < 4:
        raise ValueError(f"length is {length}; give at least 4 tokens, so that there is another order")
    rng = np.random.default_rng(seed)
    before, halves = random_rows(subject, length, rows, vocabulary, rng)
    others = [half[_other_order(length, rng)] for half in halves]
    return Rows(
        np.stack([np.concatenate([before, half, half]) for half in halves]),
        np.stack([np.concatenate([before, *pair]) for pair in zip(halves, others, strict=True)]),
        len(before),
        length,
    )


def _other_order(length: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """A permutation without fixed points and without pairs of neighbours in their first order."""
    while True:
        order = rng.permutation(length)
        if (order != np.arange(length)).all() and (np.diff(order) != 1).all():
            return order
