"""Models whose blocks are divided among processes: each holds some neighbouring ones, its stage, and the rest of all.

mlx-lm's own `pipeline` leaves no module in the place of another process' block, so that nothing could be read or
written there, and sends what it computes when it comes to be evaluated, in an order that captures change. Here every
process runs the code of the whole model. Blocks that it does not hold have weights without memory, and what they
compute is never evaluated: what leaves a stage, and what is read at a site, comes from the process that holds it, at
once. So the order of exchanges is that of the program, which is the same in all.

What leaves a block that is not here is NaN until then. A model that hands on more between its blocks than arguments,
outputs and what it puts in lists or dictionaries among them shows it, and is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten, tree_map

from lazarus_probe.anatomy.anatomy import Anatomy, UnsupportedArchitecture, architecture
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.anatomy.plain_weights import weight_bytes
from lazarus_probe.anatomy.sharding import SAME, apart_over, few_tokens
from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.anatomy.tensor_parallel import STAGES, InOne, Ranks

STAGE = "stage_of_block"


@dataclass(frozen=True, eq=False)
class Stage:
    """Where a block is.

    Attributes:
        place: the process that has its weights.
        last: whether the next block is held by another process, or there is none.
    """

    place: InOne
    last: bool

    @property
    def here(self) -> bool:
        """Whether this process holds it."""
        return bool(self.place.group.rank() == self.place.holder)

    def __deepcopy__(self, memo: Any) -> Stage:
        """Itself: processes cannot be copied."""
        return self

    def run(self, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the block; what leaves a stage is then in every process."""
        output = call(*args, **kwargs)
        arguments = (*args, *kwargs.values())
        if not self.here:
            for value in arguments:
                _forget(value)
        if self.here and not self.last:
            return output
        change = self.place.whole if self.last else _unknown
        for value in arguments:
            if isinstance(value, list | dict):
                _changed(value, change)
        return _changed(output, change)


def pipelined(anatomy: Anatomy) -> Anatomy:
    """Divide a whole model's blocks among all processes, in place; its anatomy from then on.

    Every process has to call it, on the same model. The first holds the first blocks; stages are about equal in bytes.

    Args:
        anatomy: of the whole model. Weights that were not computed yet are computed where they are held alone.

    Raises:
        ValueError: there is only one process.
        UnsupportedArchitecture: there are fewer blocks than processes, or blocks hand on more than can be seen.
    """
    group = mx.distributed.init()
    size = group.size()
    if size == 1:
        raise ValueError(
            "parallel='pipeline' needs several processes, as `mlx.launch -n 2` starts; there is one"
        )
    result = staged(anatomy, group, holders_of(anatomy, size))
    _require_no_other_way(anatomy, group)
    return result


def staged(anatomy: Anatomy, group: Any, holders: Sequence[int]) -> Anatomy:
    """Make a model's blocks those of stages, in place; its anatomy from then on.

    Args:
        anatomy: of the whole model.
        group: the processes.
        holders: the process that holds each block.
    """
    divided: dict[tuple[int, str], InOne] = {}
    for layer, block in enumerate(anatomy.blocks):
        first = layer == 0 or holders[layer - 1] != holders[layer]
        last = layer == anatomy.num_layers - 1 or holders[layer + 1] != holders[layer]
        place = InOne(group, holders[layer])
        _hold(block, Stage(place, last))
        whole = {"resid_pre"} if first else set[str]()
        whole |= {"resid_post"} if last else set()
        divided |= {(layer, kind): place for kind in PER_LAYER if kind not in whole}
    return dataclasses.replace(
        anatomy, ranks=Ranks(group, divided, {}, "pipeline", tuple(holders)), resolved={}
    )


def holders_of(anatomy: Anatomy, count: int) -> list[int]:
    """The process that is to hold each block of a model, of so many processes.

    Raises:
        UnsupportedArchitecture: there are fewer blocks than processes.
    """
    blocks = anatomy.num_layers
    if blocks < count:
        raise UnsupportedArchitecture(
            f"{architecture(anatomy.model)} has {blocks} blocks, which {count} processes cannot share; start at most "
            f"{blocks}"
        )
    return stage_holders([weight_bytes(block) for block in anatomy.blocks], count)


def stage_holders(sizes: Sequence[int], count: int) -> list[int]:
    """The process that holds each block: neighbouring blocks, about as many bytes in each process.

    Args:
        sizes: bytes of the blocks.
        count: of processes, at most as many as blocks.
    """
    total = sum(sizes)
    if total:
        middles = [sum(sizes[:layer]) + size / 2 for layer, size in enumerate(sizes)]
        holders = [min(int(count * middle / total), count - 1) for middle in middles]
        if len(set(holders)) == count:
            return holders
    return [layer * count // len(sizes) for layer in range(len(sizes))]


def held_weights(model: nn.Module) -> list[tuple[str, mx.array]]:
    """The weights of a model by name, without those of which another process has the numbers."""
    absent = {
        id(weight)
        for module in model.modules()
        if (stage := getattr(module, STAGE, None)) and not stage.here
        for _, weight in tree_flatten(module.parameters())
    }
    return [(name, weight) for name, weight in tree_flatten(model.parameters()) if id(weight) not in absent]


def _hold(block: nn.Module, stage: Stage) -> None:
    """Make a block one of a stage; without memory for its weights if another process holds it."""
    if not stage.here:
        block.update(tree_map(_placeholder, block.parameters()))
    for module in block.modules():
        # One that has no weights may be in other models too: mlx-lm makes a mixture's activation once for all.
        if any(isinstance(value, mx.array) for value in module.values()):
            object.__setattr__(module, STAGES, stage.place.group.size())
    object.__setattr__(block, STAGE, stage)
    object.__setattr__(block, "__class__", _staged_class(type(block)))  # type: ignore[arg-type]


def _placeholder(weight: mx.array) -> mx.array:
    # Vectors stay: they are small, and muse_spark's blocks use the norm of the next one.
    return weight if weight.ndim < 2 else _unknown(weight)


def _unknown(value: mx.array) -> mx.array:
    """In the place of a value that another process has: NaN where there is such a thing, of one number's memory."""
    number = mx.array(float("nan") if mx.issubdtype(value.dtype, mx.floating) else 0, value.dtype)
    return mx.broadcast_to(number, value.shape)


@cache
def _staged_class(cls: Any) -> type:
    """The subclass of a block's class whose call hands its output to the other processes, under the same name."""

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        return getattr(self, STAGE).run(partial(cls.__call__, self), args, kwargs)

    names = {"__call__": call, "__module__": cls.__module__, "__qualname__": cls.__qualname__}
    return type(cls.__name__, (cls,), names)


def _changed(value: Any, change: Callable[[mx.array], mx.array]) -> Any:
    """A value with all arrays in its tuples, lists and dictionaries changed; lists and dictionaries in place."""
    if isinstance(value, mx.array):
        return change(value)
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return tuple(_changed(item, change) for item in value)
    if isinstance(value, list | dict) and not isinstance(value, nn.Module):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            value[key] = _changed(item, change)
    return value


def _forget(entry: Any) -> None:
    """Let go of what a block that is not here has put in its cache: it would keep all that it was to be made of."""
    if isinstance(entry, nn.Module | mx.array) or not hasattr(entry, "__dict__"):
        return
    for name, value in vars(entry).items():
        if isinstance(value, tuple | list | dict | mx.array):
            setattr(entry, name, _changed(value, _unknown))
        for inner in value if isinstance(value, tuple | list) else (value,):
            _forget(inner)


def _require_no_other_way(anatomy: Anatomy, group: Any) -> None:
    """Refuse a model in which something goes from block to block that the processes do not hand each other.

    Raises:
        UnsupportedArchitecture: logits differ between processes, or hold what is not known in one of them.
    """
    model, tokens = anatomy.model, few_tokens()
    state = new_cache(model)
    whole = model(tokens, cache=state)
    logits = mx.concatenate([whole, model(tokens[:, :1], cache=state)], axis=1)
    error: Any = apart_over(logits, group).item()
    if not error <= SAME:
        raise UnsupportedArchitecture(
            f"{architecture(model)} cannot be put in a pipeline: its blocks hand on more than what they are given and "
            "return, as keys and values that a later block uses"
        )
