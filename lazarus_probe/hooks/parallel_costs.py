"""What a model costs each of several processes in memory and traffic, counted on its own code without computing it.

The model is split as for a run, by mlx-lm's `shard` or in stages, for one process of a group that does not exist. Its
forward is then made, unevaluated, with every exchange noted, first as it is and then with each kind of site read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.anatomy import Anatomy, anatomy_of, parts_seen
from lazarus_probe.anatomy.forward_pass import cache_entries, new_cache
from lazarus_probe.anatomy.parts import Parts
from lazarus_probe.anatomy.pipeline_parallel import holders_of, staged
from lazarus_probe.anatomy.plain_weights import weight_bytes
from lazarus_probe.anatomy.sharding import OF_HEADS, OF_KEYS, SPLIT_ERRORS, not_split, require_shard
from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.anatomy.tensor_parallel import Layout, Ranks, Slices, Terms
from lazarus_probe.hooks.context import hooked
from lazarus_probe.hooks.model_sites import kinds_at

Kind = Literal["whole", "tensor", "pipeline"]


@dataclass(frozen=True)
class Costs:
    """Bytes that a model takes of one process, of those that have most.

    Attributes:
        parallel: how it is split.
        processes: how many there are.
        weights: of its parameters.
        cached: of the keys and values of one prompt.
        sent: to other processes, in a forward of one prompt.
        captured: by kind of site, of its values at all layers, for one prompt. Every process keeps all of them.
        read: by kind of site, sent to other processes where these values are read in a forward of one prompt.
    """

    parallel: Kind
    processes: int
    weights: int
    cached: int
    sent: int
    captured: dict[str, int]
    read: dict[str, int]

    def needed(self, kinds: Sequence[str], prompts: int, batch: int) -> int:
        """Bytes of weights, of values captured of prompts, and of keys and values of a batch.

        What a block computes with comes on top: a few of the largest of its values, for one batch.
        """
        return self.weights + self.cached * batch + sum(self.captured[kind] for kind in kinds) * prompts


def parallel_costs(model: Callable[[], nn.Module], parallel: Kind, processes: int, length: int) -> Costs:
    """What a model costs each process.

    Args:
        model: makes it, whole; see `checkpoints.blank`.
        parallel: how it is split.
        processes: how many there are.
        length: of a prompt, in tokens.

    Raises:
        UnsupportedArchitecture: it cannot be split so.
        ValueError: the number of processes is none for that.
    """
    if processes < 1 or (parallel == "whole") != (processes == 1):
        raise ValueError(
            f"{processes} processes cannot hold a model {parallel}; give one, or several to split it over"
        )
    made = model()
    anatomy = anatomy_of(made)
    layers = range(anatomy.num_layers)
    group: Any = _Processes(processes)
    weights, share = weight_bytes(made), 1.0
    with exchanges() as notes:
        if parallel == "tensor":
            anatomy = _sharded(anatomy, group)
            weights = weight_bytes(made)
        elif parallel == "pipeline":
            holders = holders_of(anatomy, processes)
            weights -= min(_elsewhere(anatomy, holders, rank) for rank in range(processes))
            share = max(holders.count(rank) for rank in range(processes)) / len(holders)
            anatomy = staged(anatomy, group, holders)
        notes.sent(processes)
        cache = _forward(anatomy, (), length)[1]
        sent = notes.sent(processes)
        captured: dict[str, int] = {}
        read: dict[str, int] = {}
        for kind in PER_LAYER:
            sites = [f"{kind}.{layer}" for layer in layers if kind in kinds_at(anatomy, layer)]
            if sites:
                values, _ = _forward(anatomy, sites, length)
                captured[kind] = sum(value.nbytes for value in values)
                read[kind] = notes.sent(processes) - sent
    return Costs(parallel, processes, weights, int(share * cache), sent, captured, read)


def _elsewhere(anatomy: Anatomy, holders: Sequence[int], rank: int) -> int:
    """Bytes of the weights that a process of a pipeline does not hold; vectors are in every process."""
    return sum(
        weight.nbytes
        for block, holder in zip(anatomy.blocks, holders, strict=True)
        if holder != rank
        for _, weight in tree_flatten(block.parameters())
        if weight.ndim > 1
    )


class _Processes:
    """What splitting a model needs of a group of processes; this is its first."""

    def __init__(self, size: int) -> None:
        self._size = size

    def size(self) -> int:
        return self._size

    def rank(self) -> int:
        return 0


@dataclass
class Notes:
    """The exchanges that were made: bytes that were summed, and bytes of a process that were gathered."""

    summed: int = 0
    gathered: int = 0

    def sent(self, processes: int) -> int:
        """Bytes that each process has sent in a ring since it was last asked; sums go around it twice."""
        others = processes - 1
        total = 2 * others * self.summed // processes + others * self.gathered
        self.summed = self.gathered = 0
        return total


@contextmanager
def exchanges() -> Iterator[Notes]:
    """Exchanges within note their bytes and return zeros, between processes that need not exist."""
    notes, before = Notes(), (mx.distributed.all_sum, mx.distributed.all_gather)

    def all_sum(value: mx.array, **_: Any) -> mx.array:
        notes.summed += value.nbytes
        return mx.broadcast_to(mx.zeros((), value.dtype), value.shape)

    def all_gather(value: mx.array, *, group: Any = None, **_: Any) -> mx.array:
        notes.gathered += value.nbytes
        size = group.size() if group else 1
        return mx.broadcast_to(mx.zeros((), value.dtype), (size * value.shape[0], *value.shape[1:]))

    distributed: Any = mx.distributed
    distributed.all_sum, distributed.all_gather = all_sum, all_gather
    try:
        yield notes
    finally:
        distributed.all_sum, distributed.all_gather = before


def _forward(anatomy: Anatomy, sites: Sequence[str], length: int) -> tuple[list[mx.array], int]:
    """The values at sites of an unevaluated forward of one prompt, and the bytes in its cache."""
    cache = new_cache(anatomy.model)
    with hooked(anatomy, sites) as captured:
        anatomy.model(mx.zeros((1, length), dtype=mx.int32), cache=cache)
    held = {id(array): array.nbytes for entry in cache_entries(cache) for array in _arrays(vars(entry))}
    return [captured[site] for site in sites], sum(held.values())


def _arrays(value: Any) -> Iterator[mx.array]:
    if isinstance(value, mx.array):
        yield value
    elif isinstance(value, dict | list | tuple):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _arrays(item)


def _sharded(anatomy: Anatomy, group: Any) -> Anatomy:
    """The anatomy of a model that is split by tensors, in place, with layouts that have the right sizes."""
    model: Any = anatomy.model
    require_shard(model)
    experts = [_expert_bytes(anatomy, layer) for layer in range(anatomy.num_layers)]
    try:
        model.shard(group)
        local = parts_seen(model)
    except SPLIT_ERRORS as error:
        raise not_split(anatomy, group.size(), error) from error
    divided: dict[tuple[int, str], Layout] = {}
    for layer, (whole, own) in enumerate(zip(anatomy.parts, local, strict=True)):
        layouts: dict[str, Layout] = _slices(whole, own, group)
        if experts[layer] > _expert_bytes(anatomy, layer):
            layouts["expert_out"] = Terms(group)
        divided |= {(layer, kind): layout for kind, layout in layouts.items()}
    return replace(anatomy, ranks=Ranks(group, divided, {}), resolved={})


def _slices(whole: Parts, own: Parts, group: Any) -> dict[str, Layout]:
    counts: dict[str, tuple[int, int, int]] = {"neurons": (2, own.mlp_size or 0, whole.mlp_size or 0)}
    if own.heads and whole.heads:
        counts |= {
            kind: (axis, own.heads.num_heads, whole.heads.num_heads) for kind, axis in OF_HEADS.items()
        }
        counts |= dict.fromkeys(OF_KEYS, (2, own.heads.num_kv_heads, whole.heads.num_kv_heads))
    size = group.size()
    return {
        kind: Slices(group, axis, np.arange(size * here).reshape(size, here) % all_of_them)
        for kind, (axis, here, all_of_them) in counts.items()
        if here < all_of_them
    }


def _expert_bytes(anatomy: Anatomy, layer: int) -> int:
    return weight_bytes(anatomy.own_part("experts", layer)) if anatomy.parts[layer].experts else 0
