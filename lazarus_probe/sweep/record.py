"""One run of prompts, of which everything is kept that a sweep starts from."""

# ruff: noqa: N806 - T is the name that the field gives to the length

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.hooks.places import tap_at
from lazarus_probe.hooks.sites import PER_LAYER, Site, position_axis
from lazarus_probe.sweep.blocks import BlockCall
from lazarus_probe.sweep.caches import Past, own_caches
from lazarus_probe.sweep.sources import Kept
from lazarus_probe.taps import Around, Tap, held, tapped

# What a value of these kinds at one position does to the rest of its own block, it does at that position.
LOCAL_KINDS = tuple(kind for kind in PER_LAYER if kind not in ("resid_pre", "keys", "values"))


@dataclass(frozen=True, eq=False)
class Recorded:
    """A run of prompts (B, T).

    Attributes:
        logits: (B, V) at the last position.
        entering: by block, the residual (B, L, D) at its input; at the number of layers, what left the last block, at
            its last position only (B, 1, D).
        values: by site without its head, what was captured.
        caches: keys and values of every layer; None if the model used caches of its own.
        start: the position at which `entering` starts.
    """

    logits: mx.array
    entering: dict[int, mx.array]
    values: dict[Site, Kept]
    caches: list[Past] | None
    start: int = 0

    def rows(self, begin: int, end: int) -> Recorded:
        """The run of some of the prompts."""
        part = slice(begin, end)
        return Recorded(
            self.logits[part],
            {block: value[part] for block, value in self.entering.items()},
            {site: Kept(kept.values[part], kept.start) for site, kept in self.values.items()},
            None if self.caches is None else [cache.rows(part) for cache in self.caches],
            self.start,
        )

    def arrays(self) -> list[mx.array]:
        """All that is kept, for evaluation and for counting bytes."""
        kept = [array for cache in self.caches or [] for array in (cache.keys, cache.values)]
        found = [self.logits, *self.entering.values(), *(value.values for value in self.values.values())]
        return [*found, *(array for array in kept if array is not None)]


def record(
    anatomy: Anatomy,
    tokens: mx.array,
    sites: Collection[Site],
    blocks: Collection[int],
    *,
    own: bool,
    tail: bool,
    start: int = 0,
) -> Recorded:
    """Run tokens (B, T) and keep what is asked for; nothing is evaluated yet.

    Args:
        anatomy: of the model.
        tokens: prompts.
        sites: whose values to keep; heads are not singled out.
        blocks: whose inputs to keep.
        own: give the model caches that can be read, and keep them.
        tail: compute the last block beyond its keys and values for the last position only. Sites of LOCAL_KINDS there
            are then kept at that position.
        start: the first position of which inputs and values are kept.
    """
    caches: list[Any] = new_cache(anatomy.model)
    caches = list(own_caches(caches)) if own else caches
    kept: dict[int, mx.array] = {}
    seen: dict[Site, list[mx.array]] = {site: [] for site in sites}
    around = _keep_inputs(anatomy, frozenset(blocks), kept, tail, start)
    taps = [Tap(block, around=around(layer)) for layer, block in enumerate(anatomy.blocks)]
    with tapped([*taps, *(_capture(anatomy, site, values) for site, values in seen.items())]):
        logits = anatomy.model(tokens, cache=caches)[:, -1]
    T = tokens.shape[1]
    values = {site: _kept(site, found, T, start) for site, found in seen.items()}
    return Recorded(logits, kept, values, caches if own else None, start)


def _keep_inputs(
    anatomy: Anatomy, blocks: Collection[int], kept: dict[int, mx.array], tail: bool, start: int
) -> Callable[[int], Around]:
    last = anatomy.num_layers

    def around(layer: int) -> Around:
        def run(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            block = BlockCall(call, args, kwargs, anatomy.resid_argument)
            if layer in blocks:
                kept[layer] = held(block.resid[:, start:])
            out = block.last_position() if tail and layer == last - 1 else block.run()
            if layer == last - 1 and isinstance(out, mx.array) and anatomy.stream_axis != 0:
                out = kept[last] = out[:, -1:]
            return out

        return run

    return around


def _capture(anatomy: Anatomy, site: Site, seen: list[mx.array]) -> Tap:
    def visit(value: mx.array) -> None:
        seen.append(held(value))

    return tap_at(anatomy, site, visit)


def _kept(site: Site, seen: Sequence[mx.array], length: int, start: int) -> Kept:
    """The captured value with its positions on axis 1; of two calls of the last block the one that counts."""
    value = seen[-1 if site.kind in LOCAL_KINDS else 0]
    axis = position_axis(site)
    value = mx.moveaxis(value, axis, 1) if axis != 1 else value
    begin = length - value.shape[1]
    return Kept(value[:, max(start - begin, 0) :], max(start, begin))
