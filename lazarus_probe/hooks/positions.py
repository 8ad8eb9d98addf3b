"""Which positions of a sequence a hook looks at or touches, also when a cache splits it into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index as as_index
from typing import Any, Literal

import mlx.core as mx
import numpy as np

Positions = Literal["all", "last"] | int | Sequence[int] | Sequence[Sequence[int]]


@dataclass(frozen=True)
class Frame:
    """What one call of the model computes of the sequence: `length` positions after `offset` cached ones."""

    offset: int
    length: int


def check_positions(positions: Positions) -> Positions:
    """`positions` in the form the functions below take: "all", "last", or a tuple of integers, or of tuples of them.

    Raises:
        ValueError: another word, no positions at all, or rows of which one has more than another.
        TypeError: something that is no integer.
    """
    if isinstance(positions, str):
        if positions not in ("all", "last"):
            raise ValueError(f"positions {positions!r} is unknown; give 'all', 'last', an integer or several")
        return positions
    numbers: tuple[Any, ...] = (positions,) if isinstance(positions, int | np.integer) else tuple(positions)
    if not numbers:
        raise ValueError("positions is empty; give 'all', 'last', an integer or several")
    if any(isinstance(number, Sequence | np.ndarray) for number in numbers):
        return _check_rows(numbers)
    return tuple(as_index(number) for number in numbers)


def _check_rows(rows: tuple[Any, ...]) -> Positions:
    if not all(isinstance(row, Sequence | np.ndarray) and len(row) == len(rows[0]) > 0 for row in rows):
        raise ValueError(
            "positions by row are not equally many in each; give every prompt as many, as in [[1], [4]]"
        )
    return tuple(tuple(as_index(number) for number in row) for row in rows)


def by_row(positions: Positions) -> tuple[tuple[int, ...], ...] | None:
    """Checked positions that are given for each row of its own; None of others."""
    rows: Any = positions
    return rows if isinstance(rows, tuple) and isinstance(rows[0], tuple) else None


def rows_of(positions: Positions, indices: Sequence[int]) -> Positions:
    """Of positions by row those of some rows; others are those of any row."""
    rows = by_row(positions)
    return positions if rows is None else tuple(rows[index] for index in indices)


def check_rows(positions: Positions, count: int) -> None:
    """Whether positions by row are given for each of `count` prompts.

    Raises:
        ValueError: they are of fewer or of more.
    """
    rows = by_row(positions)
    if rows is not None and len(rows) != count:
        raise ValueError(f"positions has {len(rows)} rows for {count} prompts; give one row a prompt")


def check_range(positions: Positions, length: int) -> None:
    """Whether every position exists in a sequence of `length` tokens.

    Raises:
        IndexError: one does not; the message names the valid range.
    """
    rows = by_row(positions)
    numbers: Any = positions if rows is None else [number for row in rows for number in row]
    for position in [] if isinstance(positions, str | int) else numbers:
        if not -length <= position < length:
            raise IndexError(
                f"position {position} is out of range: the sequence has positions 0 to {length - 1}"
            )


def in_chunk(positions: Positions, frame: Frame) -> dict[int, int] | None:
    """Where in a chunk the positions lie: index in it by requested position; None stands for all of it.

    Positions count from the start of the whole sequence, cached part included; negative ones from its end as
    it stands at this call. Positions outside the chunk are left out.
    """
    if positions == "all":
        return None
    if positions == "last":
        return {-1: frame.length - 1}
    assert isinstance(positions, tuple)  # noqa: S101 - check_positions leaves nothing else
    total = frame.offset + frame.length
    numbers: Any = positions
    local = {
        position: (position + total if position < 0 else position) - frame.offset for position in numbers
    }
    return {position: index for position, index in local.items() if 0 <= index < frame.length}


def in_rows(positions: Positions, frame: Frame, count: int) -> np.ndarray:
    """Where in a chunk the positions (B, K) given by row lie.

    Raises:
        ValueError: they are of another number of rows, or one lies outside of the chunk.
    """
    check_rows(positions, count)
    total = frame.offset + frame.length
    local = np.array(positions)
    local = np.where(local < 0, local + total, local) - frame.offset
    if (local < 0).any() or (local >= frame.length).any():
        raise ValueError(
            "positions by row must all lie in one call of the model; in generation give one for all rows"
        )
    return local


def take_rows(value: mx.array, indices: np.ndarray, axis: int) -> mx.array:
    """Of each row of a value the slices at places (B, K) of an axis."""
    moved = mx.moveaxis(value, axis, 1)
    return mx.moveaxis(moved[mx.arange(len(indices))[:, None], mx.array(indices)], 1, axis)


def put_rows(value: mx.array, indices: np.ndarray, axis: int, part: mx.array) -> mx.array:
    """A copy of a value with the slices at places (B, K) of an axis replaced in each row."""
    copy = mx.array(mx.moveaxis(value, axis, 1))
    copy[mx.arange(len(indices))[:, None], mx.array(indices)] = mx.moveaxis(part, axis, 1)
    return mx.moveaxis(copy, 1, axis)


def take(value: mx.array, indices: Sequence[int], axis: int) -> mx.array:
    """The slice of a value at some indices of an axis, copied: the whole is not kept alive."""
    return mx.contiguous(mx.take(value, mx.array(list(indices)), axis=axis))


def put(value: mx.array, indices: Sequence[int], axis: int, part: mx.array) -> mx.array:
    """A copy of a value with the slice at some indices of an axis replaced."""
    # Assignment to an index changes the array for everyone who holds it, so it is done on a copy.
    copy = mx.array(value)
    copy[(slice(None),) * axis + (mx.array(list(indices)),)] = part
    return copy
