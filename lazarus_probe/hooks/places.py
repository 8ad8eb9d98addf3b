"""Which module a site lies at, and on which side of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.hooks.sites import Site
from lazarus_probe.taps import Change, Inside, Tap, tapped

PART = {
    "attn_out": "attention",
    "mixer_out": "mixer",
    "mlp_out": "mlp",
    "router_logits": "router",
    "expert_out": "experts",
}
STEPS = ("queries", "keys", "values", "scores", "pattern")


def tap_at(anatomy: Anatomy, site: Site, visit: Change) -> Tap:
    """A tap that hands the value at a site to `visit`, whose result takes its place unless it is None.

    Args:
        anatomy: of the model.
        site: resolved against that model. A head is not singled out: the value has all heads.
        visit: from the value, in the shape that `Site` documents, to one of the same shape, or to None.
    """
    layer = site.layer or 0
    visit = _whole(anatomy, layer, site.kind, visit)
    match site.kind:
        case "embed":
            return Tap(anatomy.embedding, after=visit)
        case "logits":
            return Tap(anatomy.model, after=visit)
        case "resid_pre":
            return Tap(
                anatomy.blocks[layer], before=_streams(anatomy, visit), argument=anatomy.resid_argument
            )
        case "resid_post":
            return Tap(anatomy.blocks[layer], after=_streams(anatomy, visit))
        case "resid_mid":
            return Tap(anatomy.part("mid", layer), before=_overwriting(visit))
        case "neurons":
            return Tap(anatomy.own_part("down_proj", layer), before=visit)
        case "head_out":
            return _head_tap(anatomy, layer, visit)
        case kind if kind in STEPS:
            return _step_tap(anatomy, layer, kind, visit)
        case "router_logits" | "expert_out" if anatomy.parts[layer].flat:
            return _flat_tap(anatomy, layer, PART[site.kind], visit)
        case kind:
            return Tap(anatomy.own_part(PART[kind], layer), after=visit)


def place_of(site: Site) -> tuple[str, int]:
    """What sites that share one tap have in common, all heads of a layer for instance; sorts without None."""
    return (site.kind, -1 if site.layer is None else site.layer)


def resid_value(anatomy: Anatomy, value: mx.array) -> mx.array:
    """The residual (B, L, D) or (B, L, N, D), from the layout that the model's blocks pass on."""
    return mx.moveaxis(value, 0, 2) if anatomy.stream_axis == 0 else value


def resid_layout(anatomy: Anatomy, value: mx.array) -> mx.array:
    """The residual in the layout that the model's blocks pass on; undoes `resid_value`."""
    return mx.moveaxis(value, 2, 0) if anatomy.stream_axis == 0 else value


def whole_value(anatomy: Anatomy, layer: int, kind: str, value: mx.array) -> mx.array:
    """The whole model's value at a site, where each process holds a part of the model."""
    return value if anatomy.ranks is None else anatomy.ranks.whole(layer, kind, value)


def own_value(anatomy: Anatomy, layer: int, kind: str, value: mx.array) -> mx.array:
    """What this process' part of the model takes of the whole model's value at a site; undoes `whole_value`."""
    return value if anatomy.ranks is None else anatomy.ranks.own(layer, kind, value)


def _whole(anatomy: Anatomy, layer: int, kind: str, visit: Change) -> Change:
    """For a value that processes have parts of: `visit` is given the whole of it, the same in all of them."""
    if anatomy.ranks is None or (layer, kind) not in anatomy.ranks.divided:
        return visit

    def whole(value: mx.array) -> mx.array | None:
        new = visit(whole_value(anatomy, layer, kind, value))
        return None if new is None else own_value(anatomy, layer, kind, new)

    return whole


def _streams(anatomy: Anatomy, visit: Change) -> Change:
    if anatomy.stream_axis != 0:
        return visit

    def streams(value: mx.array) -> mx.array | None:
        new = visit(resid_value(anatomy, value))
        return None if new is None else resid_layout(anatomy, new)

    return streams


def _overwriting(visit: Change) -> Change:
    """For a value that the block hands to its MLP, and keeps to add the MLP's output to: both see what is written."""

    def before(value: mx.array) -> None:
        new = visit(value)
        if new is not None:
            value[...] = new

    return before


def _head_tap(anatomy: Anatomy, layer: int, visit: Change) -> Tap:
    heads = anatomy.parts[layer].heads
    if anatomy.parts[layer].o_proj is None:
        # What the model projects is no row of heads any more; what leaves the kernel is.
        return Tap(anatomy.part("attention", layer), inside=Inside("output", visit))
    width = heads.value_dim if heads else -1

    def before(value: mx.array) -> mx.array | None:
        new = visit(value.reshape(*value.shape[:2], -1, width))
        return None if new is None else new.reshape(value.shape)

    return Tap(anatomy.own_part("o_proj", layer), before=before)


def _flat_tap(anatomy: Anatomy, layer: int, part: str, visit: Change) -> Tap:
    """For a mixture that flattens rows and positions, whose numbers only the call of the whole mixture tells."""

    def around(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        B, L = args[0].shape[:2]  # noqa: N806 - the field's names

        def after(value: mx.array) -> mx.array | None:
            new = visit(value.reshape(B, L, *value.shape[1:]))
            return None if new is None else new.reshape(value.shape)

        with tapped([Tap(anatomy.own_part(part, layer), after=after)]):
            return call(*args, **kwargs)

    return Tap(anatomy.part("mlp", layer), around=around)


def _step_tap(anatomy: Anatomy, layer: int, step: str, visit: Change) -> Tap:
    heads = anatomy.parts[layer].heads
    inside = Inside(cast(Any, step), visit, fused=heads is None or heads.fused)
    return Tap(anatomy.part("attention", layer), inside=inside)
