"""Which calls of an observed run are the parts of a block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.observe import BATCH, LENGTH, Call, Observation

# Names that mlx-lm's model files give to the part of a block that sees one position at a time.
MLP_NAMES = ("mlp", "feed_forward", "ffn", "block_sparse_moe", "moe", "mlp_block", "ff_proj", "channel_mixer")


@dataclass(frozen=True)
class Heads:
    """Sizes of a block's attention: query heads, key and value heads, widths of a key and of a value.

    `fused` says whether the model calls mlx's attention kernel; without it queries, keys and values are out of reach.
    """

    num_heads: int
    num_kv_heads: int
    head_dim: int
    value_dim: int
    fused: bool = True


@dataclass(frozen=True)
class Parts:
    """Where the parts of one block are, as paths within it; None where it has no such part.

    Attributes:
        attention: softmax attention.
        mixer: what mixes positions in another way: a state space, linear attention, a convolution.
        mlp: the part that sees one position at a time, dense or a mixture of experts.
        o_proj: the projection from the heads to the residual stream.
        down_proj: the projection from the MLP's neurons to the residual stream; None in a mixture of experts.
        router: the projection whose outputs are the router's logits.
        experts: the chosen experts of a mixture.
        attention_norm: the norm that attention's output goes through before it is added to the stream.
        mixer_norm: likewise for the mixer.
        mlp_norm: likewise for the MLP.
        mid: what is given the residual stream between attention and MLP: the MLP, or the norm before it. None where
            both read the same stream.
        heads: the attention's sizes.
        mlp_size: neurons of a dense MLP.
        num_experts: experts of a mixture.
        flat: whether the mixture runs on positions of all rows in one axis (B * L).
    """

    attention: str | None = None
    mixer: str | None = None
    mlp: str | None = None
    o_proj: str | None = None
    down_proj: str | None = None
    router: str | None = None
    experts: str | None = None
    attention_norm: str | None = None
    mixer_norm: str | None = None
    mlp_norm: str | None = None
    mid: str | None = None
    heads: Heads | None = None
    mlp_size: int | None = None
    num_experts: int | None = None
    flat: bool = False


def parts_of(observation: Observation, block: Call, entries: set[int], width: int) -> Parts:
    """The parts of one block.

    Args:
        observation: the run.
        block: the block's call.
        entries: identities of the cache's entries; what is given one mixes positions.
        width: of the residual stream.
    """
    inside = observation.inside(block)
    mixers = _mixers(inside, entries, width)
    soft = [call for call in mixers if _heads(call, inside) or _calls_kernel(call, inside)]
    linear = [call for call in mixers if call not in soft]
    mlp = _mlp(inside, mixers, width)
    parts: dict[str, Any] = {}
    if len(soft) == 1:
        parts |= _attention_parts(soft[0], inside, width) | _norm_after("attention_norm", soft[0], inside)
    if len(linear) == 1:
        parts |= {"mixer": linear[0]} | _norm_after("mixer_norm", linear[0], inside)
    experts = [call for call in inside if _is_experts(call) and not (mlp and call.within(mlp))]
    if experts:
        parts |= _expert_parts(inside, experts[0].module)
    if mlp is not None:
        parts |= _mlp_parts(mlp, inside, width) | _norm_after("mlp_norm", mlp, inside)
        parts |= _mid(block, mixers, mlp, inside, width)
    return Parts(**{name: _relative(value, block) for name, value in parts.items()})


def _relative(value: Any, block: Call) -> Any:
    return value.path.removeprefix(f"{block.path}.") if isinstance(value, Call) else value


def _norm_after(name: str, part: Call, inside: Sequence[Call]) -> dict[str, Any]:
    """The norm that a part's output goes through before it is added to the stream, if there is one."""
    for call in inside:
        weight = call.module.get("weight")
        if call.args and call.args[0] is part.first and weight is not None and weight.ndim == 1:
            return {name: call}
    return {}


def _mid(
    block: Call, mixers: Sequence[Call], mlp: Call, inside: Sequence[Call], width: int
) -> dict[str, Any]:
    """What reads the stream that attention was added to: an array that no module made and the block was not given."""
    order = {id(call): index for index, call in enumerate(inside)}
    if (
        not mixers
        or any(order[id(mixer)] > order[id(mlp)] for mixer in mixers)
        or not is_value(block.first, width)
    ):
        return {}
    norms = [call for call in inside if call.first is mlp.args[0] and _is_norm(call.module)]
    # Without a norm module before it an MLP may be given what a function normalised, unless its own output is.
    direct = any(_is_norm(call.module) and call.args and call.args[0] is mlp.first for call in inside)
    reader = norms[0] if norms else mlp if direct else None
    if reader is None or not reader.args or not is_value(reader.args[0], width):
        return {}
    stream = reader.args[0]
    others = (*block.args, *(call.first for call in inside))
    return {} if any(stream is value for value in others) else {"mid": reader}


def _is_norm(module: nn.Module) -> bool:
    return "norm" in type(module).__name__.lower()


def _mixers(inside: Sequence[Call], entries: set[int], width: int) -> list[Call]:
    """What mixes positions: the innermost calls that are given the block's cache, or that run the kernel."""
    takes = [
        call
        for call in inside
        if is_value(call.first, width)
        and _last_name(call) not in MLP_NAMES
        and (any(id(arg) in entries for arg in call.args) or call.kernels)
    ]
    return [call for call in takes if not any(outer.within(call) for outer in takes)]


def _last_name(call: Call) -> str:
    return call.path.rsplit(".", 1)[-1]


def _calls_kernel(call: Call, inside: Sequence[Call]) -> bool:
    return any(made.kernels for made in _with(call, inside))


def _with(call: Call, inside: Sequence[Call]) -> list[Call]:
    return [call, *(inner for inner in inside if inner.within(call))]


def _heads(call: Call, inside: Sequence[Call]) -> Heads | None:
    """The sizes of the one attention kernel, or the one softmax over scores, that a call runs."""
    calls = _with(call, inside)
    kernels = [shapes for made in calls for shapes in made.kernels]
    if kernels:
        queries, keys, values = kernels[0]
        if len(kernels) > 1 or queries[:2] != (BATCH, LENGTH) or keys[:2] != (BATCH, LENGTH):
            return None
        return Heads(queries[2], keys[2], queries[3], values[3])
    softmaxes = [shape for made in calls for shape in made.softmaxes if shape[2:] == (LENGTH, LENGTH)]
    if len(softmaxes) != 1 or softmaxes[0][0] != BATCH:
        return None
    return Heads(softmaxes[0][1], 0, 0, 0, fused=False)


def _attention_parts(call: Call, inside: Sequence[Call], width: int) -> dict[str, Any]:
    heads = _heads(call, inside)
    if heads is None:
        return {"attention": call}
    output = _projection(call, inside, width)
    if output is not None and not heads.fused:
        heads = Heads(heads.num_heads, 0, 0, output.args[0].shape[-1] // heads.num_heads, fused=False)
    if output is not None and output.args[0].shape[-1] != heads.num_heads * heads.value_dim:
        output = None
    return {"attention": call, "heads": heads} | ({"o_proj": output} if output is not None else {})


def _projection(call: Call, inside: Sequence[Call], width: int) -> Call | None:
    """The projection that a part ends with: the last of its own modules that maps a position's vector to the stream."""
    projections = [
        inner
        for inner in inside
        if inner.within(call)
        and inner.module.get("weight") is not None
        and inner.module["weight"].ndim == 2
        and is_value(inner.first, width)
        and inner.args
        and is_value(inner.args[0])
    ]
    return _adapted(projections[-1], call) if projections else None


def _adapted(projection: Call, part: Call) -> Call:
    """The adapter around a projection, where it was already put in its place."""
    parent = projection.parent
    while parent is not None and parent is not part and parent.args and parent.args[0] is projection.args[0]:
        projection, parent = parent, parent.parent
    return projection


def _mlp(inside: Sequence[Call], mixers: Sequence[Call], width: int) -> Call | None:
    """The outermost call in the block with weights of its own that maps positions one by one, if there is one."""
    candidates = [
        call
        for call in inside
        if is_value(call.first, width)
        and call.args
        and is_value(call.args[0], width)
        and any(inner.within(call) for inner in inside)
        and not any(mixer is call or mixer.within(call) or call.within(mixer) for mixer in mixers)
    ]
    outermost = [call for call in candidates if not any(call.within(outer) for outer in candidates)]
    named = [call for call in outermost if _last_name(call) in MLP_NAMES]
    chosen = named or outermost
    return chosen[0] if len(chosen) == 1 else None


def _mlp_parts(mlp: Call, inside: Sequence[Call], width: int) -> dict[str, Any]:
    if _num_experts(mlp.module) is not None:
        return {"mlp": mlp} | _expert_parts([call for call in inside if call.within(mlp)], mlp.module)
    down = _projection(mlp, inside, width)
    if down is None or down.args[0] is mlp.args[0]:
        return {"mlp": mlp}
    return {"mlp": mlp, "down_proj": down, "mlp_size": down.args[0].shape[-1]}


def _expert_parts(inside: Sequence[Call], mixture: nn.Module) -> dict[str, Any]:
    experts = [call for call in inside if _is_experts(call)]
    outermost = [call for call in experts if not any(call.within(outer) for outer in experts)]
    count = _num_experts(mixture)
    # A router that returns the experts chosen is none, though as many may be chosen as there are.
    routers = [
        call
        for call in inside
        if _is_rows(call.first, 1)
        and call.first.shape[-1] == count
        and mx.issubdtype(call.first.dtype, mx.floating)
    ]
    innermost = [call for call in routers if not any(outer.within(call) for outer in routers)]
    parts: dict[str, Any] = {"num_experts": count}
    for name, calls in (("experts", outermost), ("router", innermost)):
        if len(calls) == 1:
            parts |= {name: calls[0], "flat": not _is_batch(calls[0].first)}
    return parts


def _is_experts(call: Call) -> bool:
    """Whether a call takes positions and the experts chosen for each, and returns what each of these says."""
    return (
        len(call.args) > 1
        and isinstance(call.args[1], mx.array)
        and mx.issubdtype(call.args[1].dtype, mx.integer)
        and _is_rows(call.first, 2)
        and _num_experts(call.module) is not None
    )


def _is_rows(value: Any, axes: int) -> bool:
    """Whether a value is (B, L, ...) or (B * L, ...), with so many further axes."""
    if not isinstance(value, mx.array):
        return False
    flat = value.ndim == 1 + axes and value.shape[0] == BATCH * LENGTH
    return flat or (value.ndim == 2 + axes and _is_batch(value))


def _is_batch(value: mx.array) -> bool:
    return value.shape[:2] == (BATCH, LENGTH)


def _num_experts(module: nn.Module) -> int | None:
    """Experts of a mixture: the first axis of a weight that has three, or the length of a list of modules."""
    for _, part in module.named_modules():
        weight = part.get("weight")
        if weight is not None and weight.ndim == 3:
            return weight.shape[0]
        for child in part.children().values():
            if isinstance(child, list) and len({type(module) for module in child}) == 1 < len(child):
                return len(child)
    return None


def is_value(value: Any, width: int | None = None) -> bool:
    """Whether a value is (B, L, D)."""
    if not isinstance(value, mx.array) or value.ndim != 3 or value.shape[:2] != (BATCH, LENGTH):
        return False
    return width is None or value.shape[-1] == width
