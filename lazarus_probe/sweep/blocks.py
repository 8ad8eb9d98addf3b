"""One call of a block: the residual among its arguments, and what it computes for the last position alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lazarus_probe.sweep.caches import Last, Past
from lazarus_probe.taps import argument, with_argument


@dataclass(frozen=True, eq=False)
class BlockCall:
    """A call of a block that has not been made.

    Attributes:
        call: makes it.
        args: of the call.
        kwargs: of the call.
        where: position or name of the argument that is the residual.
    """

    call: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    where: int | str

    @property
    def resid(self) -> mx.array:
        """The residual (B, L, ...) that the block is given."""
        return argument(self.args, self.kwargs, self.where)

    def run(self, resid: mx.array | None = None) -> Any:
        """Make the call, on another residual if one is given."""
        made = self if resid is None else self._given(resid)
        return made.call(*made.args, **made.kwargs)

    def last_position(self, resid: mx.array | None = None) -> Any:
        """The output at the last position (B, 1, ...), computing only keys and values of the others.

        The block is called twice: on all positions, of which mlx then computes the keys and values alone, and on the
        last position with those.

        Raises:
            ValueError: the block is not given exactly one cache of the sweep's.
        """
        resid = self.resid if resid is None else resid
        if resid.shape[1] == 1:
            return self.run(resid)
        caches = [one for one in (*self.args, *self.kwargs.values()) if isinstance(one, Past)]
        if len(caches) != 1:
            raise ValueError(f"the last block is given {len(caches)} caches, not one")
        self.run(resid)
        return self._at_last(resid.shape[1], Last(caches[0]))._given(resid[:, -1:]).run()

    def _given(self, resid: mx.array) -> BlockCall:
        # By place and not by identity: a block may be given the same array once more, as something else.
        args, kwargs = with_argument(self.args, self.kwargs, self.where, resid)
        return BlockCall(self.call, args, kwargs, self.where)

    def _at_last(self, length: int, last: Last) -> BlockCall:
        args = tuple(_last_of(one, length, last) for one in self.args)
        kwargs = {name: _last_of(one, length, last) for name, one in self.kwargs.items()}
        return BlockCall(self.call, args, kwargs, self.where)


def _last_of(argument: Any, length: int, last: Last) -> Any:
    """An argument of a call on `length` positions, for the last of them: masks and the like have a row for each."""
    if argument is last.full:
        return last
    if isinstance(argument, str):
        return None  # "causal": the last position sees all
    rows = isinstance(argument, mx.array) and argument.ndim > 1 and argument.shape[-2] == length
    return argument[..., -1:, :] if rows else argument
