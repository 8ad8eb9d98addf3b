"""One call of a block: the residual among its arguments, and its output at the last position alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lazarus_probe.subject.fast_gates import left_to_mlx
from lazarus_probe.sweep.caches import Past
from lazarus_probe.taps import argument, with_argument


class Last:
    """The cache for running a block a second time, on the last position alone, with the keys of the first time."""

    def __init__(self, full: Past) -> None:
        self.full, self.offset = full, full.offset - 1

    def update_and_fetch(self, _keys: mx.array, _values: mx.array) -> tuple[mx.array, mx.array]:
        """The keys and values of the first time."""
        return self.full.keys, self.full.values  # type: ignore[return-value]


@dataclass(frozen=True, eq=False)
class BlockCall:
    """A call of a block, not yet made.

    Attributes:
        call: makes it.
        args: of the call.
        kwargs: of the call.
        where: position or name of the argument that is the residual stream.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    where: int | str

    @property
    def resid(self) -> mx.array:
        """The residual stream (B, L, ...) at the block's input."""
        return argument(self.args, self.kwargs, self.where)

    def run(self, resid: mx.array | None = None) -> Any:
        """Make the call, on another residual stream if one is given."""
        args, kwargs = self.args, self.kwargs
        if resid is not None:
            # By position and not by identity: a block may be given the same array twice, for different purposes.
            args, kwargs = with_argument(args, kwargs, self.where, resid)
        return self.call(*args, **kwargs)

    def last_position(self, resid: mx.array | None = None) -> Any:
        """The output at the last position (B, 1, ...), computing only the keys and values of the others.

        The block is called twice: on all positions, of which mlx then computes only the keys and values, and on the
        last position with those.

        Raises:
            ValueError: the block has not exactly one of the sweep's caches among its arguments.
        """
        resid = self.resid if resid is None else resid
        if resid.shape[1] == 1:
            return self.run(resid)
        caches = [value for value in (*self.args, *self.kwargs.values()) if isinstance(value, Past)]
        if len(caches) != 1:
            raise ValueError(f"the last block is given {len(caches)} caches, not one")
        with left_to_mlx():
            self.run(resid)
        length, last = resid.shape[1], Last(caches[0])
        args = tuple(_last_of(value, length, last) for value in self.args)
        kwargs = {name: _last_of(value, length, last) for name, value in self.kwargs.items()}
        return BlockCall(self.call, args, kwargs, self.where).run(resid[:, -1:])


def _last_of(argument: Any, length: int, last: Last) -> Any:
    """An argument of a call on `length` positions, for the last position: masks have one row per position."""
    if argument is last.full:
        return last
    if isinstance(argument, str):
        return None  # "causal": the last position sees all
    rows = isinstance(argument, mx.array) and argument.ndim > 1 and argument.shape[-2] == length
    return argument[..., -1:, :] if rows else argument
