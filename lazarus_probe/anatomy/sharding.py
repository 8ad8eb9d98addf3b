"""Splitting a model by tensors with mlx-lm's `shard`, and finding out how its values are divided then.

Nothing is taken from names or from an order that parts usually have. Which neurons and heads a process holds is read
off the columns of the projections that read them: those of a second model, whose weights are their own numbers, split
in the same way. Whether a value is whole is seen in a run: then it is the same in every process.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy, UnsupportedArchitecture, architecture, at_path, parts_seen
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.anatomy.observe import BATCH, LENGTH
from lazarus_probe.anatomy.parts import Heads, Parts
from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.anatomy.tensor_parallel import Ranks, Slices, Terms
from lazarus_probe.taps import Change, Inside, Tap, held, tapped

SAME = 1e-3  # of the largest value: terms of a sum differ by as much as it is large
OF_HEADS = {"queries": 2, "head_out": 2, "scores": 1, "pattern": 1}
# What mlx-lm's `shard` raises where a model does not divide.
SPLIT_ERRORS = (AssertionError, AttributeError, TypeError, ValueError)
OF_KEYS = ("keys", "values")
STREAM = ("embed", "resid_pre", "resid_mid", "resid_post", "logits")
WHOLE = {
    "attention": "attn_out",
    "mixer": "mixer_out",
    "mlp": "mlp_out",
    "router": "router_logits",
}

Columns = dict[tuple[int, str], NDArray[np.intp]]


def sharded(anatomy: Anatomy, fresh: Callable[[], nn.Module]) -> Anatomy:
    """Split a whole model over all processes, in place; its anatomy from then on.

    Every process has to call it, on the same model.

    Args:
        anatomy: of the whole model. Weights that were not computed yet are never computed whole.
        fresh: makes another model of the same arguments, whose weights do not matter.

    Raises:
        ValueError: there is only one process.
        UnsupportedArchitecture: mlx-lm cannot split it, or not over so many processes.
    """
    model, group = anatomy.model, mx.distributed.init()
    name, size = architecture(model), group.size()
    if size == 1:
        raise ValueError(
            "parallel='tensor' needs several processes, as `mlx.launch -n 2` starts; there is one"
        )
    require_shard(model)
    single = _key_heads_of_one_token(anatomy)
    try:
        columns = _columns(anatomy, _dyed(anatomy, fresh), group)
        model.shard(group)
        local = parts_seen(model)
    except SPLIT_ERRORS as error:
        raise not_split(anatomy, size, error) from error
    divided: dict[tuple[int, str], Slices | Terms] = {}
    refused: dict[tuple[int, str], str] = {}
    for layer, (parts, own) in enumerate(zip(anatomy.parts, local, strict=True)):
        layouts, reasons = _block(layer, parts, own, columns, group, single[layer], f"{name} block {layer}")
        divided |= {(layer, kind): layout for kind, layout in layouts.items()}
        refused |= {(layer, kind): reason for kind, reason in reasons.items()}
    refused |= _not_whole(anatomy, group)
    return dataclasses.replace(anatomy, ranks=Ranks(group, divided, refused), resolved={})


def require_shard(model: nn.Module) -> None:
    """Refuse a model that mlx-lm cannot split.

    Raises:
        UnsupportedArchitecture: it has no `shard`.
    """
    if not hasattr(model, "shard"):
        raise UnsupportedArchitecture(
            f"mlx-lm cannot split {architecture(model)} by tensors: it has no `shard`"
        )


def not_split(anatomy: Anatomy, size: int, error: Exception) -> UnsupportedArchitecture:
    """What mlx-lm's `shard` has raised, with the heads that do not divide by the processes where that is why."""
    detail = _undivided(anatomy, size) or " ".join(str(error).split())[:200] or type(error).__name__
    return UnsupportedArchitecture(
        f"{architecture(anatomy.model)} cannot be split over {size} processes: {detail}"
    )


def _undivided(anatomy: Anatomy, size: int) -> str | None:
    """The heads that do not divide by a number of processes, where that is so."""
    for layer, parts in enumerate(anatomy.parts):
        heads = parts.heads
        if heads and (heads.num_heads % size or heads.num_kv_heads % size):
            return (
                f"block {layer} has {heads.num_heads} heads and {heads.num_kv_heads} of keys, which do not divide by "
                f"{size}; start another number of processes"
            )
    return None


def _dyed(anatomy: Anatomy, fresh: Callable[[], nn.Module]) -> nn.Module:
    """A model like it, in which each column of a projection that reads heads, neurons or experts is its number."""
    with random_state(0):
        model = fresh()
    model.update(
        tree_map(lambda weight: mx.broadcast_to(mx.zeros((), weight.dtype), weight.shape), model.parameters())
    )
    paths = {id(module): path for path, module in anatomy.model.named_modules()}
    for block, parts in zip(anatomy.blocks, anatomy.parts, strict=True):
        for _, path in _readers(parts):
            for _, module in _weighted(at_path(at_path(model, paths[id(block)]), path)):
                *lead, outputs, inputs = module["weight"].shape
                numbers = mx.arange(inputs, dtype=mx.float32)
                # One expert, since mlx-lm copies what it cuts.
                module["weight"] = mx.broadcast_to(numbers, (*(1 for _ in lead), outputs, inputs))
    return model


def _readers(parts: Parts) -> Iterator[tuple[str, str]]:
    """The parts whose weights' columns tell how what they read is divided, with their paths."""
    for name in ("o_proj", "down_proj", "experts"):
        if path := getattr(parts, name):
            yield name, path


def _weighted(part: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for path, module in part.named_modules():
        weight = module.get("weight")
        if weight is not None and weight.ndim > 1:
            yield path, module


def _columns(anatomy: Anatomy, model: nn.Module, group: Any) -> Columns:
    """By layer and part, the columns (ranks, n) that each process holds of a projection; of experts, of all of them."""
    paths = {id(module): path for path, module in anatomy.model.named_modules()}
    model.shard(group)
    columns: Columns = {}
    for layer, (block, parts) in enumerate(zip(anatomy.blocks, anatomy.parts, strict=True)):
        for name, path in _readers(parts):
            part = at_path(at_path(model, paths[id(block)]), path)
            own = [
                module["weight"].reshape(-1, module["weight"].shape[-1])[0] for _, module in _weighted(part)
            ]
            joined = mx.concatenate(own).astype(mx.int32)
            columns[layer, name] = np.array(mx.distributed.all_gather(joined[None], group=group)).astype(
                np.intp
            )
    return columns


def _block(
    layer: int, whole: Parts, own: Parts, columns: Columns, group: Any, single: int | None, name: str
) -> tuple[dict[str, Slices | Terms], dict[str, str]]:
    """How the values of a block are divided, by kind of site, and the kinds of which that is not known, with why."""
    layouts: dict[str, Slices | Terms] = {}
    reasons: dict[str, str] = {}
    if _paths(whole) != _paths(own):
        raise UnsupportedArchitecture(f"{name} has other parts once it is split: {own}, not {whole}")
    if whole.heads and own.heads:
        heads = _heads(whole.heads, own.heads, columns.get((layer, "o_proj")), group, name)
        if heads is None:
            why = "what its heads are projected by does not tell which of them a process holds"
            reasons |= dict.fromkeys((*OF_HEADS, *OF_KEYS), why)
        else:
            layouts |= {kind: Slices(group, axis, heads) for kind, axis in OF_HEADS.items()}
            keys = _keys(whole.heads, own.heads, heads, single)
            if keys is None:
                reasons |= dict.fromkeys(
                    OF_KEYS, "its queries do not tell which keys and values a process holds"
                )
            elif not _all_hold_all(keys):
                layouts |= {kind: Slices(group, 2, keys) for kind in OF_KEYS}
    if (layer, "down_proj") in columns and not _all_hold_all(columns[layer, "down_proj"]):
        neurons = columns[layer, "down_proj"]
        if not _is_division(neurons, whole.mlp_size or 0):
            raise UnsupportedArchitecture(
                f"{name}: its {whole.mlp_size} neurons are not divided among processes"
            )
        layouts["neurons"] = Slices(group, 2, neurons)
    if (layer, "experts") in columns and not _all_hold_all(columns[layer, "experts"]):
        layouts["expert_out"] = Terms(group)
    return layouts, reasons


def _paths(parts: Parts) -> dict[str, Any]:
    return {name: value for name, value in vars(parts).items() if name not in ("heads", "mlp_size", "mid")}


def _heads(
    whole: Heads, own: Heads, columns: NDArray[np.intp] | None, group: Any, name: str
) -> NDArray[np.intp] | None:
    """(ranks, n) the heads that each process holds; None where no columns tell.

    Raises:
        UnsupportedArchitecture: heads are cut in two, and the model computes something else than before.
    """
    same = (whole.head_dim, whole.value_dim) == (own.head_dim, own.value_dim)
    if not same or own.num_heads * group.size() != whole.num_heads:
        raise UnsupportedArchitecture(
            f"{name}: its {whole.num_heads} heads cannot be divided among {group.size()} processes"
        )
    if columns is None:
        return None
    heads = columns.reshape(group.size(), own.num_heads, -1)
    first = heads[..., 0] // whole.value_dim
    expected = first[..., None] * whole.value_dim + np.arange(whole.value_dim)
    if heads.shape != expected.shape or (heads != expected).any() or not _is_division(first, whole.num_heads):
        raise UnsupportedArchitecture(f"{name}: a head of its attention is cut in two, or in no process")
    return first


def _keys(whole: Heads, own: Heads, heads: NDArray[np.intp], single: int | None) -> NDArray[np.intp] | None:
    """(ranks, n) the heads of keys and values that each process holds: those that its queries read."""
    if not whole.fused:
        return heads[:, :0]  # they are in nobody's reach
    if single is not None and single != whole.num_kv_heads and own.num_kv_heads == single:
        return None  # one key for all heads in runs of one token, which looks like a slice of one head
    if own.num_heads % own.num_kv_heads or whole.num_heads % whole.num_kv_heads:
        return None
    read = heads.reshape(len(heads), own.num_kv_heads, -1) // (whole.num_heads // whole.num_kv_heads)
    keys = read[..., 0]
    if (read != keys[..., None]).any() or set(keys.flat) != set(range(whole.num_kv_heads)):
        return None
    return keys


def _all_hold_all(entries: NDArray[np.intp]) -> bool:
    return bool((entries == entries[0]).all())


def _is_division(entries: NDArray[np.intp], count: int) -> bool:
    return sorted(entries.flat) == list(range(count))


def _key_heads_of_one_token(anatomy: Anatomy) -> list[int | None]:
    """By layer, the heads of keys in a run of one token, where some models share one among all heads."""
    counts: list[int | None] = [None] * anatomy.num_layers
    taps = []
    for layer, parts in enumerate(anatomy.parts):
        if parts.heads and parts.heads.fused:

            def note(value: mx.array, layer: int = layer) -> None:
                counts[layer] = value.shape[2]

            taps.append(Tap(anatomy.part("attention", layer), inside=Inside("keys", note)))
    with tapped(taps):
        forward(anatomy.model, mx.zeros((1, 1), dtype=mx.int32))
    return counts


def _not_whole(anatomy: Anatomy, group: Any) -> dict[tuple[int, str], str]:
    """The kinds of site whose value is taken for whole and differs between processes, with why they are refused.

    Raises:
        UnsupportedArchitecture: that is so of the residual stream.
    """
    values: dict[tuple[int, str], mx.array] = {}

    def noting(layer: int, kind: str) -> Callable[[mx.array], None]:
        def note(value: mx.array) -> None:
            values[layer, kind] = held(value)

        return note

    with tapped(list(whole_taps(anatomy, noting))):
        forward(anatomy.model, few_tokens())
    errors: Any = mx.stack([apart_over(value, group) for value in values.values()]).tolist()
    wrong = {place for place, error in zip(values, errors, strict=True) if not error <= SAME}
    if cut := [(layer, kind) for layer, kind in wrong if kind in STREAM]:
        layer, kind = min(cut)
        where = kind if layer < 0 else f"{kind}.{layer}"
        raise UnsupportedArchitecture(
            f"{architecture(anatomy.model)} as mlx-lm splits it has another {where} in each process"
        )
    return dict.fromkeys(wrong, "what it is in one process is not what it is in another")


def few_tokens() -> mx.array:
    """(B, L) tokens that every model has."""
    return mx.arange(BATCH * LENGTH, dtype=mx.int32).reshape(BATCH, LENGTH) % 8


def whole_taps(anatomy: Anatomy, visit: Callable[[int, str], Change]) -> Iterator[Tap]:
    """Taps on all values that are taken for whole, each with what `visit` gives for its layer and kind."""
    yield Tap(anatomy.embedding, after=visit(-1, "embed"))
    yield Tap(anatomy.model, after=visit(-1, "logits"))
    for layer, (block, parts) in enumerate(zip(anatomy.blocks, anatomy.parts, strict=True)):
        yield Tap(block, before=visit(layer, "resid_pre"), argument=anatomy.resid_argument)
        yield Tap(block, after=visit(layer, "resid_post"))
        if parts.mid:
            yield Tap(anatomy.part("mid", layer), before=visit(layer, "resid_mid"))
        for part, kind in WHOLE.items():
            if getattr(parts, part):
                yield Tap(anatomy.part(part, layer), after=visit(layer, kind))


def apart_over(value: mx.array, group: Any) -> mx.array:
    """How far a value is from that of the first process, relative to the largest."""
    all_values = mx.distributed.all_gather(value.astype(mx.float32)[None], group=group)
    size = mx.abs(all_values).max()
    return mx.abs(all_values - all_values[:1]).max() / mx.where(size == 0, 1, size)
