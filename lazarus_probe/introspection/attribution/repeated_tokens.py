"""Repeated random tokens, and the same with the second half in another order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

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
    ordinary = (
        ordinary_tokens(subject) if vocabulary is None else np.unique(np.asarray(vocabulary, dtype=np.int32))
    )
    if len(ordinary) < length:
        raise ValueError(f"length is {length}, and there are {len(ordinary)} tokens to draw from; give fewer")
    rng = np.random.default_rng(seed)
    bos = getattr(subject.tokenizer, "bos_token_id", None)
    before = np.array([] if bos is None else [bos], dtype=np.int32)
    halves = [rng.choice(ordinary, size=length, replace=False).astype(np.int32) for _ in range(rows)]
    others = [half[_other_order(length, rng)] for half in halves]
    return Rows(
        np.stack([np.concatenate([before, half, half]) for half in halves]),
        np.stack([np.concatenate([before, *pair]) for pair in zip(halves, others, strict=True)]),
        len(before),
        length,
    )


def ordinary_tokens(subject: Subject) -> NDArray[np.int32]:
    """The ids of all tokens but the special ones."""
    special = set(getattr(subject.tokenizer, "all_special_ids", ()) or ()) | set(subject.eos_token_ids)
    size = subject.anatomy.vocab_size
    if subject.tokenizer is not None:
        size = min(size, len(subject.tokenizer.get_vocab()))
    return np.array([token for token in range(size) if token not in special], dtype=np.int32)


def _other_order(length: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """A permutation without fixed points and without pairs of neighbours in their first order."""
    while True:
        order = rng.permutation(length)
        if (order != np.arange(length)).all() and (np.diff(order) != 1).all():
            return order
