"""Running prompts and recording all that a sweep starts from."""

# ruff: noqa: N806 - T is the name that the field gives to the length

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks.places import tap_at, whole_value
from lazarus_probe.hooks.sites import Site, position_axis
from lazarus_probe.sweep.blocks import BlockCall
from lazarus_probe.sweep.caches import Past, own_caches
from lazarus_probe.sweep.sources import SiteValues
from lazarus_probe.taps import Around, Tap, held, tapped

# Within its block, a value of these kinds affects only its own position.
LOCAL_KINDS = tuple(kind for kind in PER_LAYER if kind not in ("resid_pre", "keys", "values"))


@dataclass(frozen=True, eq=False)
class Recorded:
    """A run of prompts (B, T).

    Attributes:
        logits: (B, V) at the last position.
        entering: by block, the residual stream (B, L, D) at its input; at the number of layers, the output of the last
            block, at the last position only (B, 1, D).
        values: by site without its head.
        caches: keys and values of every layer; None if the model used its own caches.
        start: the position at which `entering` starts.
    """

    logits: mx.array
    entering: dict[int, mx.array]
    values: dict[Site, SiteValues]
    caches: list[Past] | None
    start: int = 0

    def rows(self, begin: int, end: int) -> Recorded:
        """The run of some of the prompts."""
        part = slice(begin, end)
        return Recorded(
            self.logits[part],
            {block: resid[part] for block, resid in self.entering.items()},
            {site: SiteValues(value.values[part], value.start) for site, value in self.values.items()},
            None if self.caches is None else [cache.rows(part) for cache in self.caches],
            self.start,
        )

    def arrays(self) -> list[mx.array]:
        """All recorded arrays, to evaluate them and to count bytes."""
        cached = [array for cache in self.caches or [] for array in (cache.keys, cache.values)]
        values = [value.values for value in self.values.values()]
        return [
            self.logits,
            *self.entering.values(),
            *values,
            *(array for array in cached if array is not None),
        ]


def record(
    anatomy: Anatomy,
    tokens: mx.array,
    sites: Iterable[Site],
    blocks: Collection[int],
    *,
    own: bool,
    tail: bool,
    start: int = 0,
) -> Recorded:
    """Run tokens (B, T) and record values; nothing is evaluated yet.

    Args:
        anatomy: of the model.
        tokens: prompts.
        sites: whose values to record, of all heads together.
        blocks: whose inputs to record.
        own: run the model on the sweep's caches, and record them.
        tail: run the last block beyond its keys and values for the last position only. Sites of LOCAL_KINDS there
            are then recorded at that position only.
        start: the first position to record.
    """
    caches: list[Any] = new_cache(anatomy.model)
    caches = list(own_caches(caches)) if own else caches
    entering: dict[int, mx.array] = {}
    captures: dict[Site, list[mx.array]] = {Site(site.kind, site.layer): [] for site in sites}
    around = _record_inputs(anatomy, frozenset(blocks), entering, tail, start)
    taps = [Tap(block, around=around(layer)) for layer, block in enumerate(anatomy.blocks)]
    with tapped([*taps, *(_capture(anatomy, site, values) for site, values in captures.items())]):
        logits = anatomy.model(tokens, cache=caches)[:, -1]
    T = tokens.shape[1]
    values = {}
    for site, calls in captures.items():
        # Of two calls of the last block, the first has all positions, and the second is used by the rest of the block.
        value = mx.moveaxis(calls[-1 if site.kind in LOCAL_KINDS else 0], position_axis(site), 1)
        begin = T - value.shape[1]
        values[site] = SiteValues(value[:, max(start - begin, 0) :], max(start, begin))
    return Recorded(logits, entering, values, caches if own else None, start)


def _record_inputs(
    anatomy: Anatomy, blocks: Collection[int], entering: dict[int, mx.array], tail: bool, start: int
) -> Callable[[int], Around]:
    last = anatomy.num_layers

    def around(layer: int) -> Around:
        def run(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            block = BlockCall(call, args, kwargs, anatomy.resid_argument)
            if layer in blocks:
                resid = whole_value(anatomy, layer, "resid_pre", block.resid)
                entering[layer] = held(resid[:, start:])
            out = block.last_position() if tail and layer == last - 1 else block.run()
            if layer == last - 1 and isinstance(out, mx.array) and anatomy.stream_axis != 0:
                out = entering[last] = out[:, -1:]
            return out

        return run

    return around


def _capture(anatomy: Anatomy, site: Site, calls: list[mx.array]) -> Tap:
    def visit(value: mx.array) -> None:
        calls.append(held(value))

    return tap_at(anatomy, site, visit)
