"""Every weight of a model by name and component, dequantised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.plain_weights import named_weights

if TYPE_CHECKING:
    from lazarus_probe.anatomy.parts import Parts
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Weight:
    """One weight of a model.

    Attributes:
        name: its path in the model, as in `model.layers.0.mlp.down_proj.weight`.
        layer: the block it is in; None outside of them.
        component: what it is, as in `mlp_down`, `attn_o`, `embedding`.
        shape: of its numbers, dequantised.
        numbers: reads them, in float32.
    """

    name: str
    layer: int | None
    component: str
    shape: tuple[int, ...]
    numbers: Callable[[], NDArray[np.float32]]


def weights_of(subject: Subject) -> list[Weight]:
    """Every weight of a model, under the names and in the sizes it has without quantisation and adapters."""
    anatomy, model = subject.anatomy, subject.model
    paths = {id(module): path for path, module in model.named_modules()}
    blocks = {paths[id(block)]: layer for layer, block in enumerate(anatomy.blocks)}
    weights = []
    for name, shape, read in named_weights(model):
        inside = next((path for path in blocks if name.startswith(f"{path}.")), None)
        layer = None if inside is None else blocks[inside]
        component = (
            _outside(name, anatomy.embedding_path)
            if inside is None or layer is None
            else component_of(anatomy.parts[layer], name.removeprefix(f"{inside}."))
        )
        weights.append(Weight(name, layer, component, shape, partial(_float32, read)))
    return sorted(weights, key=_order)


def _order(weight: Weight) -> tuple[int, int, str]:
    part = 1 if weight.layer is not None else 0 if weight.component == "embedding" else 2
    return part, weight.layer or 0, weight.name


def component_of(parts: Parts, name: str) -> str:
    """What a weight of a block is: attn_q, mlp_down, experts_up, router, or else its own path with _ for dots."""
    path, _, kind = name.rpartition(".")
    suffix = "" if kind == "weight" else f"_{kind}"
    special = {parts.o_proj: "attn_o", parts.down_proj: "mlp_down", parts.router: "router"}
    if path and path in special:
        return special[path] + suffix
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


def _float32(read: Callable[[], mx.array]) -> NDArray[np.float32]:
    return np.array(read().astype(mx.float32))
