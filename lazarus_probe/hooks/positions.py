"""Which positions of a sequence a hook looks at or touches, also when a cache splits it into chunks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import index as as_index
from typing import Literal

import mlx.core as mx
import numpy as np

Positions = Literal["all", "last"] | int | Sequence[int]


@dataclass(frozen=True)
class Frame:
    """What one call of the model computes of the sequence: `length` positions after `offset` cached ones."""

    offset: int
    length: int


def check_positions(positions: Positions) -> Positions:
    """`positions` in the form the functions below take: "all", "last", or a tuple of integers.

    Raises:
        ValueError: another word, or no positions at all.
        TypeError: something that is no integer.
    """
    if isinstance(positions, str):
        if positions not in ("all", "last"):
            raise ValueError(f"positions {positions!r} is unknown; give 'all', 'last', an integer or several")
        return positions
    numbers: tuple[int, ...] = (positions,) if isinstance(positions, int | np.integer) else tuple(positions)
    if not numbers:
        raise ValueError("positions is empty; give 'all', 'last', an integer or several")
    return tuple(as_index(number) for number in numbers)


def check_range(positions: Positions, length: int) -> None:
    """Whether every position exists in a sequence of `length` tokens.

    Raises:
        IndexError: one does not; the message names the valid range.
    """
    if isinstance(positions, tuple):
        for position in positions:
            if not -length <= position < length:
                raise IndexError(
                    f"position {position} is out of range: the sequence has positions 0 to {length - 1}"
                )


def in_chunk(positions: Positions, frame: Frame) -> dict[int, int] | None:
    """Where in a chunk the positions lie: index in it by position asked for; None stands for all of it.

    Positions count from the start of the whole sequence, cached part included; negative ones from its end as
    it stands at this call. Positions outside the chunk are left out.
    """
    if positions == "all":
        return None
    if positions == "last":
        return {-1: frame.length - 1}
    assert isinstance(positions, tuple)  # noqa: S101 - check_positions leaves nothing else
    total = frame.offset + frame.length
    local = {
        position: (position + total if position < 0 else position) - frame.offset for position in positions
    }
    return {position: index for position, index in local.items() if 0 <= index < frame.length}


def take(value: mx.array, indices: Sequence[int], axis: int) -> mx.array:
    """The slice of a value at some indices of an axis, copied: the whole is not kept alive."""
    return mx.contiguous(mx.take(value, mx.array(list(indices)), axis=axis))


def put(value: mx.array, indices: Sequence[int], axis: int, part: mx.array) -> mx.array:
    """A copy of a value with the slice at some indices of an axis replaced."""
    # Assignment to an index changes the array for everyone who holds it, so it is done on a copy.
    copy = mx.array(value)
    copy[(slice(None),) * axis + (mx.array(list(indices)),)] = part
    return copy
