"""Models of which each process holds a part: what part of the whole model's values is in each, and the whole of them.

mlx-lm splits a model by tensors (`model.shard`). The residual stream is the same in every process, and so is what
attention and MLP add to it, since that is summed over the processes. Heads and neurons are divided: of those a process
computes its own alone. In a pipeline (`pipeline_parallel`) a block is in one process, with all that it computes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.nn.layers.distributed import (
    AllToShardedLinear,
    QuantizedAllToShardedLinear,
    QuantizedShardedToAllLinear,
    ShardedToAllLinear,
    sum_gradients,
)
from numpy.typing import NDArray

SPLIT_LINEAR = (
    AllToShardedLinear,
    QuantizedAllToShardedLinear,
    ShardedToAllLinear,
    QuantizedShardedToAllLinear,
)
# The attribute of modules whose weights another process may hold instead: over how many processes their blocks are.
STAGES = "stages_of_blocks"


@dataclass(frozen=True, eq=False)
class Slices:
    """A value whose entries along one axis are divided among processes.

    Attributes:
        group: the processes.
        axis: that axis.
        entries: (ranks, n) which of the whole model's entries each process holds; one may be in several.
    """

    group: Any
    axis: int
    entries: NDArray[np.intp]

    def whole(self, value: mx.array) -> mx.array:
        """The whole model's value, of what this process computed; every process has to ask for it.

        Raises:
            ValueError: the value is no slice of that size.
        """
        if value.shape[self.axis] != self.entries.shape[1]:
            raise ValueError(
                f"a value of {value.shape[self.axis]} entries along axis {self.axis}, where each of "
                f"{len(self.entries)} processes holds {self.entries.shape[1]}, is not known to be a slice; read it in "
                "a run of the whole prompt, or give the whole model"
            )
        parts = mx.distributed.all_gather(value[None], group=self.group)
        joined = mx.concatenate([parts[rank] for rank in range(len(self.entries))], axis=self.axis)
        return joined if self._places is None else mx.take(joined, self._places, axis=self.axis)

    def own(self, value: mx.array) -> mx.array:
        """What this process holds of a value of the whole model, the same in all processes."""
        mine = mx.array(self.entries[self.group.rank()].astype(np.int32))
        # What each process makes of its own slice counts for all of them.
        return mx.take(sum_gradients(self.group)(value), mine, axis=self.axis)

    @cached_property
    def _places(self) -> mx.array | None:
        """Where the whole model's entries are among those of all processes in turn; None if in that order."""
        _, first = np.unique(self.entries, return_index=True)
        in_turn = len(first) == self.entries.size and (first == np.arange(len(first))).all()
        return None if in_turn else mx.array(first.astype(np.int32))


@dataclass(frozen=True, eq=False)
class Terms:
    """A value of which each process has a term, and the model sums only what it makes of them."""

    group: Any

    def whole(self, value: mx.array) -> mx.array:
        """The sum of what the processes computed; every process has to ask for it."""
        return mx.distributed.all_sum(value, group=self.group)

    def own(self, value: mx.array) -> mx.array:
        """A term for this process, all of it for the first: sums are then what they are of the value."""
        # Chosen by a value and not by `if`: processes whose graphs differ would wait for each other.
        first = mx.array(self.group.rank() == 0)
        return mx.where(first, sum_gradients(self.group)(value), mx.zeros_like(value))


@dataclass(frozen=True, eq=False)
class InOne:
    """A value that one process computes.

    Attributes:
        group: the processes.
        holder: the one that computes it.
    """

    group: Any
    holder: int

    def whole(self, value: mx.array) -> mx.array:
        """The holder's value, in every process; every process has to ask for it, in the same order as for others.

        Raises:
            ValueError: a gradient is taken through it.
        """
        exchanged: mx.array = _exchange(self)(value)
        return exchanged

    def own(self, value: mx.array) -> mx.array:
        """The value, which the holder goes on with; elsewhere nothing comes of it."""
        return value


def _exchange(place: InOne) -> Any:
    mine = place.group.rank() == place.holder

    @mx.custom_function
    def exchanged(value: mx.array) -> mx.array:
        # Booleans have no sum.
        numbers = value.astype(mx.uint8) if value.dtype == mx.bool_ else value
        summed = mx.distributed.all_sum(numbers if mine else mx.zeros_like(numbers), group=place.group)
        # At once: what waits to be evaluated is evaluated in an order that differs between processes.
        mx.eval(summed)
        return summed.astype(value.dtype)

    @exchanged.vjp
    def refuse(*_: Any) -> None:
        raise ValueError(
            "gradients do not go back through a model in a pipeline: give the whole model in one process, or do "
            "without gradients"
        )

    return exchanged


Layout = Slices | Terms | InOne


@dataclass(frozen=True, eq=False)
class Ranks:
    """How the values of a model are divided among processes.

    Attributes:
        group: the processes.
        divided: by layer and kind of site, what is no whole value in a process.
        refused: by layer and kind of site, why it is not known how it is divided.
        parallel: whether each process holds a part of every block, or some of the blocks.
        holders: in a pipeline, the process that holds each block.
    """

    group: Any
    divided: Mapping[tuple[int, str], Layout]
    refused: Mapping[tuple[int, str], str]
    parallel: Literal["tensor", "pipeline"] = "tensor"
    holders: tuple[int, ...] = ()

    def whole(self, layer: int, kind: str, value: mx.array) -> mx.array:
        """The whole model's value at a kind of site."""
        layout = self.divided.get((layer, kind))
        return value if layout is None else layout.whole(value)

    def own(self, layer: int, kind: str, value: mx.array) -> mx.array:
        """What this process holds of a whole value."""
        layout = self.divided.get((layer, kind))
        return value if layout is None else layout.own(value)

    def holds(self, layer: int) -> bool:
        """Whether this process has weights of a block."""
        return not self.holders or bool(self.holders[layer] == self.group.rank())

    def all_hold(self, flags: Sequence[bool]) -> list[bool]:
        """Which of some statements hold in every process; each has to ask for it."""
        failed = mx.array([not flag for flag in flags]).astype(mx.int32)
        counts: Any = mx.distributed.all_sum(failed, group=self.group).tolist()
        return [count == 0 for count in counts]

    def first(self, number: float) -> float:
        """The first process' number in every process, for what they measure and have to decide alike."""
        numbers: Any = mx.distributed.all_gather(mx.array([number]), group=self.group).tolist()
        return float(numbers[0])


def split_module(model: nn.Module) -> str | None:
    """The first module of which this process holds a part, in words; None where it holds all of the model."""
    for path, module in model.named_modules():
        name = f"{path or 'the model'} ({type(module).__name__})"
        if (size := _size(module)) > 1:
            return f"{name} is split over {size} processes"
        if (stages := max(getattr(module, "pipeline_size", 1), getattr(module, STAGES, 1))) > 1:
            return f"{name} has its layers on {stages} processes"
    return None


def require_whole(model: nn.Module, what: str) -> None:
    """Refuse a model of which this process holds a part, for what needs all of its weights.

    Raises:
        ValueError: it is such a one.
    """
    if part := split_module(model):
        raise ValueError(f"{what} needs the whole model in one process: {part}; load it without `parallel`")


def _size(module: Any) -> int:
    """Over how many processes mlx-lm split a module, or what is in it."""
    group = module.group if isinstance(module, SPLIT_LINEAR) else getattr(module, "sharding_group", None)
    return 1 if group is None else int(group.size())
