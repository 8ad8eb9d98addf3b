"""Whole blocks deleted, or swapped with their neighbours: which a model can do without, and the model that does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.places import resid_value
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.taps import Around, Tap, original, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LayerEdit = Literal["delete", "swap"]


def named_edit(edit: LayerEdit, blocks: Sequence[int]) -> str:
    """An edit in words: `L3`, `L3-5`, or `L3 and L4` swapped."""
    if edit == "swap":
        return f"L{blocks[0]} and L{blocks[1]}"
    return f"L{blocks[0]}" if len(blocks) == 1 else f"L{blocks[0]}-{blocks[-1]}"


def blocks_to_edit(
    subject: Subject, edit: LayerEdit, layers: Sequence[int] | None, count: int
) -> tuple[tuple[int, ...], ...]:
    """The blocks of every edit.

    Raises:
        UnsupportedArchitecture: as `layer_edits`, whose arguments these are.
        ValueError: a count that leaves no block, or no layers.
        IndexError: a block that does not exist.
    """
    total, size = subject.num_layers, 2 if edit == "swap" else count
    if edit == "swap" and total < 2:
        raise UnsupportedArchitecture(f"{subject.name} has one block; swapping needs two")
    if edit == "swap" and count != 1:
        raise ValueError(f"count is {count}; two neighbours are swapped, give it for delete alone")
    if not 1 <= count < total and edit == "delete":
        raise ValueError(f"count is {count} of {total} blocks; give 1 to {total - 1}, so that one is left")
    starts = range(total - size + 1) if layers is None else layers
    for start in starts:
        if not 0 <= start <= total - size:
            raise IndexError(f"block {start} is out of range: this edit begins at 0 to {total - size}")
    if not len(starts):
        raise ValueError("no layers to edit; give at least one")
    blocks = tuple(tuple(range(start, start + size)) for start in starts)
    if edit == "delete":
        return blocks
    alike = tuple(pair for pair in blocks if _why_not_swapped(subject, pair) is None)
    if len(alike) < len(blocks if layers is not None else blocks[:1]):
        first = next(pair for pair in blocks if pair not in alike)
        raise UnsupportedArchitecture(_why_not_swapped(subject, first))
    return alike


def _why_not_swapped(subject: Subject, pair: Sequence[int]) -> str | None:
    """Why two neighbours cannot run in each other's place; None where they can."""
    anatomy, cache = subject.anatomy, new_cache(subject.model)
    if not anatomy.skippable:
        return f"blocks of {subject.name} hand on more than the residual; they cannot be swapped"
    if anatomy.ranks and anatomy.ranks.parallel == "pipeline":
        return f"blocks of {subject.name} are in several processes; they cannot be swapped without `parallel='tensor'`"
    caches = [type(cache[layer]) if len(cache) == anatomy.num_layers else None for layer in pair]
    kinds = {(kinds_at(anatomy, layer), type(anatomy.blocks[layer])) for layer in pair}
    if len(kinds) == len(set(caches)) == 1:
        return None
    return f"blocks {pair[0]} and {pair[1]} of {subject.name} are of two kinds; they cannot run in each other's place"


@contextmanager
def blocks_edited(subject: Subject, edit: LayerEdit, blocks: Sequence[int]) -> Iterator[list[mx.array]]:
    """The model with blocks deleted, or two swapped; the list gets the residual that leaves the last of them."""
    left: list[mx.array] = []
    if edit == "delete":

        def enter(value: mx.array) -> mx.array:
            left[:] = [mx.array(value)]
            return value

        edits = [
            Intervention(Site("resid_pre", blocks[0]), enter, label="look"),
            Intervention(Site("resid_post", blocks[-1]), lambda _: left[0], label="delete"),
        ]
        with hooked(subject, (), edits):
            yield left
        return
    modules = [subject.anatomy.blocks[layer] for layer in blocks]
    calls = [original(module) for module in modules]

    def in_place_of(call: Callable[..., Any]) -> Around:
        def around(_: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            value = call(*args, **kwargs)
            left[:] = [resid_value(subject.anatomy, value)]
            return value

        return around

    with tapped(
        [Tap(module, around=in_place_of(call)) for module, call in zip(modules, reversed(calls), strict=True)]
    ):
        yield left
