"""Every weight of a model by name and component, as the numbers that it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from lazarus_probe.subject.subject import random_state

if TYPE_CHECKING:
    from lazarus_probe.subject.parts import Parts
    from lazarus_probe.subject.subject import Subject

Numbers = Callable[[], NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight of a model.

    Attributes:
        name: its path in the model, as in `model.layers.0.mlp.down_proj.weight`.
        layer: the block it is in; None outside of them.
        component: what it is, as in `mlp_down`, `attn_o`, `embedding`.
        shape: of its numbers, where quantised of those they stand for.
        numbers: reads them, in float32.
    """

    name: str
    layer: int | None
    component: str
    shape: tuple[int, ...]
    numbers: Numbers


def weights_of(subject: Subject) -> Iterator[Weight]:
    """Every weight of a model, under the names and in the sizes it has without quantisation and adapters."""
    anatomy, model = subject.anatomy, subject.model
    paths = {id(module): path for path, module in model.named_modules()}
    blocks = {paths[id(block)]: layer for layer, block in enumerate(anatomy.blocks)}
    found = []
    for name, shape, numbers in _arrays(model):
        inside = next((path for path in blocks if name.startswith(f"{path}.")), None)
        layer = None if inside is None else blocks[inside]
        component = (
            _outside(name, anatomy.embedding_path)
            if inside is None or layer is None
            else component_of(anatomy.parts[layer], name.removeprefix(f"{inside}."))
        )
        found.append(Weight(name, layer, component, shape, numbers))
    yield from sorted(found, key=_order)


def _order(weight: Weight) -> tuple[int, int, str]:
    place = 1 if weight.layer is not None else 0 if weight.component == "embedding" else 2
    return place, weight.layer or 0, weight.name


def component_of(parts: Parts, name: str) -> str:
    """What a weight of a block is: attn_q, mlp_down, experts_up, router, or else its own path with _ for dots."""
    path, _, kind = name.rpartition(".")
    suffix = "" if kind == "weight" else f"_{kind}"
    known = {parts.o_proj: "attn_o", parts.down_proj: "mlp_down", parts.router: "router"}
    if path and path in known:
        return known[path] + suffix
    for part, label in (
        (parts.experts, "experts"),
        (parts.attention, "attn"),
        (parts.mixer, "mixer"),
        (parts.mlp, "mlp"),
    ):
        if part and (path == part or path.startswith(f"{part}.")):
            rest = path[len(part) :].strip(".").replace(".", "_").removesuffix("_proj")
            return (f"{label}_{rest}" if rest else label) + suffix
    return path.replace(".", "_") + suffix if path else kind


def _outside(name: str, embedding: str) -> str:
    path, _, kind = name.rpartition(".")
    suffix = "" if kind == "weight" else f"_{kind}"
    if path == embedding:
        return f"embedding{suffix}"
    last = path.rpartition(".")[2]
    return {"lm_head": "head", "norm": "final_norm"}.get(last, path.replace(".", "_") or kind) + suffix


def _arrays(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...], Numbers]]:
    """Name, shape and reader of every weight; modules that stand in two places are taken once."""
    modules = [(path, module) for path, module in model.named_modules()]
    adapted = {path: module for path, module in modules if "lora_a" in module}
    known: set[int] = set()
    for path, module in modules:
        within = any(path.startswith(f"{one}.") for one in adapted)
        if id(module) in known or within:
            continue
        known.add(id(module))
        if path in adapted:
            with random_state(0):  # what is fused into is drawn first
                module = module.fuse(dequantize=True)
        for key, value in _own(module):
            quantised = key == "weight" and "scales" in module
            read = partial(_dequantised, module) if quantised else partial(_identity, value)
            shape = _quantised_shape(module) if quantised else tuple(value.shape)
            yield (f"{path}.{key}" if path else key), shape, partial(_float32, read)


def _own(module: nn.Module) -> Iterator[tuple[str, mx.array]]:
    """A module's own arrays, without those of modules in it and without what a quantised weight is coded by."""
    coded = ("scales", "biases", "global_scale") if "scales" in module else ()
    for key, value in module.items():
        if key.startswith("_") or key in coded or isinstance(value, nn.Module):
            continue
        if isinstance(value, mx.array):
            yield key, value
        elif isinstance(value, list | dict):
            for inner, array in tree_flatten(value, is_leaf=lambda one: isinstance(one, nn.Module)):
                if isinstance(array, mx.array):
                    yield f"{key}.{inner}", array


def _identity(value: mx.array) -> mx.array:
    return value


def _dequantised(module: Any) -> mx.array:
    extra = {} if module.get("global_scale") is None else {"global_scale": module["global_scale"]}
    return mx.dequantize(
        module["weight"],
        module["scales"],
        module.get("biases"),
        group_size=module.group_size,
        bits=module.bits,
        mode=getattr(module, "mode", "affine"),
        **extra,
    )


def _quantised_shape(module: Any) -> tuple[int, ...]:
    return (*module["weight"].shape[:-1], module["weight"].shape[-1] * 32 // module.bits)


def _float32(read: Callable[[], mx.array]) -> NDArray[np.float32]:
    return np.array(read().astype(mx.float32))
