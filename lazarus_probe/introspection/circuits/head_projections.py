"""Projections of a block in which every head has an input of its own, or contributes by itself.

Running the projection on a copy for each head costs as many projections as there are heads, of which all but one slice
is thrown away. Where the weights of each head lie together, as in nearly all model files, the slices do: a circuit of a
model with nine heads in a block then costs half of what it does on copies.
"""

# ruff: noqa: N806 - n, R, L, D and Dh are the names that this room gives to these sizes

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import at_path
from lazarus_probe.anatomy.plain_weights import plain_weight
from lazarus_probe.anatomy.projections import bare, projections, sizes

if TYPE_CHECKING:
    from lazarus_probe.anatomy.anatomy import Anatomy
    from lazarus_probe.introspection.circuits.edges.edge_graph import BlockNodes

NAMES = {"q": "q_proj", "k": "k_proj", "v": "v_proj"}


def sliceable(anatomy: Anatomy, layer: int, nodes: BlockNodes) -> dict[str, str]:
    """Paths of a block's projections by what they make ("q", "k", "v", "o"), or none if one of them is no linear layer.

    That the slices are those of the heads is for a run to show; see `split`.
    """
    parts = anatomy.parts[layer]
    names = {step: f"{parts.attention}.{name}" for step, name in NAMES.items()} | {"o": parts.o_proj or ""}
    linear = {projection.path for projection in projections(anatomy, [layer])}
    if not set(names.values()) <= linear:
        return {}
    outputs = {
        step: sizes(at_path(anatomy.blocks[layer], path))[0 if step == "o" else 2]
        for step, path in names.items()
    }
    counts = {"q": nodes.heads, "k": nodes.kv_heads, "v": nodes.kv_heads}
    whole = all(outputs[step] % count == 0 for step, count in counts.items())
    return names if whole and outputs["o"] == 1 else {}


def project_apart(module: Any, heard: mx.array) -> mx.array:
    """Outputs (R, L, n * Dh) of a projection for n heads, that of each from its own input (n, R, L, D)."""
    n, R, L, D = heard.shape
    weight = plain_weight(module).reshape(n, -1, D)
    heads = heard.reshape(n, R * L, D) @ weight.swapaxes(1, 2)
    joined = heads.swapaxes(0, 1).reshape(R, L, -1)
    return joined + bias_of(module)


def contributions(module: Any, heads: mx.array) -> tuple[mx.array, mx.array]:
    """What an output projection makes of each head's part of (R, L, n, Dh): (n, R, L, D) without the bias, and that."""
    R, L, n, Dh = heads.shape
    weight = plain_weight(module).reshape(-1, n, Dh)
    terms = heads.reshape(R * L, n, Dh).swapaxes(0, 1) @ weight.transpose(1, 2, 0)
    return terms.reshape(n, R, L, -1), bias_of(module)


def bias_of(module: Any) -> mx.array:
    """The bias of a linear layer, with LoRA or without; one zero if it has none."""
    linear = bare(module)
    return linear["bias"] if "bias" in linear else mx.zeros((1,), dtype=plain_weight(linear).dtype)
