"""Running a batch: whole, or growing from block to block as each row joins where it starts to differ."""

# ruff: noqa: N806 - T is the name that the field gives to the length

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import chosen_rows, new_cache
from lazarus_probe.hooks.sites import Site
from lazarus_probe.sweep.blocks import BlockCall
from lazarus_probe.sweep.caches import Past
from lazarus_probe.sweep.edits import Edit, edit_taps
from lazarus_probe.sweep.grid import Jobs
from lazarus_probe.sweep.record import Recorded
from lazarus_probe.taps import Around, Tap, tapped


@dataclass(frozen=True, eq=False)
class Batch:
    """Rows to run together, those that enter first in front.

    Attributes:
        jobs: the rows.
        edits: what is done to them.
        tokens: (B, T) of the prompts that `jobs.prompt` refers to.
        adds_mlp: whether the MLP's output is added to the residual as it is, so that a row whose MLP output is replaced
            can enter after the block.
    """

    jobs: Jobs
    edits: Sequence[Edit]
    tokens: mx.array
    adds_mlp: bool = False

    def made_before(self, edit: Edit) -> int | None:
        """The block before which an edit is made on the entering rows; None for one made inside a block."""
        match edit.site.kind:
            case "resid_pre":
                return edit.site.layer
            case "resid_post":
                return (edit.site.layer or 0) + 1
            case "mlp_out" if self.adds_mlp:
                return (edit.site.layer or 0) + 1
            case _:
                return None


def entry_of(site: Site, layers: int, adds_mlp: bool) -> int:
    """The block whose input is the first thing that a site changes."""
    if site.kind == "logits":
        return layers
    after = site.kind == "resid_post" or (adds_mlp and site.kind == "mlp_out")
    return (site.layer or 0) + after


def run_full(anatomy: Anatomy, batch: Batch) -> tuple[mx.array, list[Any]]:
    """Logits (R, V) at the last position from whole forwards, and the model's own caches after them."""
    caches = new_cache(anatomy.model)
    with tapped(edit_taps(anatomy, batch.edits, batch.tokens.shape[1])):
        logits = anatomy.model(chosen_rows(batch.tokens, batch.jobs.prompt), cache=caches)
    return logits[:, -1], caches


def run_branch(
    anatomy: Anatomy, base: Recorded, batch: Batch, *, own: bool, tail: bool
) -> tuple[mx.array, list[Past]]:
    """Logits (R, V) at the last position of the rows, and the caches of the layers that they ran through.

    Args:
        anatomy: of the model.
        base: the unpatched run of the prompts.
        batch: the rows.
        own: start at the first position that differs, with the keys and values of the unpatched run before it.
        tail: compute the last block for the last position only.
    """
    T = batch.tokens.shape[1]
    begin = int(batch.jobs.start.min()) if own else 0
    caches: list[Any] = _prefixes(base, batch.jobs, begin) if own else new_cache(anatomy.model)
    around = _grow(anatomy, int(batch.jobs.entry.min()), _entering(base, batch, begin), tail)
    inside = [edit for edit in batch.edits if batch.made_before(edit) is None]
    taps = [Tap(block, around=around(layer)) for layer, block in enumerate(anatomy.blocks)]
    with tapped([*taps, *edit_taps(anatomy, inside, T)]):
        logits = anatomy.model(batch.tokens[:1, begin:], cache=caches)[:, -1]
    return logits, caches


def _prefixes(base: Recorded, jobs: Jobs, begin: int) -> list[Past]:
    assert base.caches is not None  # noqa: S101 - own caches were recorded
    counts = np.searchsorted(jobs.entry, np.arange(len(base.caches)), side="right")
    # Layers that no row runs through have no keys, but their caches still tell the model where the call starts.
    return [
        cache.before(begin, jobs.prompt[:count]) for cache, count in zip(base.caches, counts, strict=True)
    ]


def _entering(base: Recorded, batch: Batch, begin: int) -> dict[int, mx.array]:
    """By block, the rows (n, L, D) that join the batch at its input, already edited."""
    T = batch.tokens.shape[1]
    entering = {}
    for entry in np.unique(batch.jobs.entry).tolist():
        low, high = np.searchsorted(batch.jobs.entry, [entry, entry + 1])
        prompts = batch.jobs.prompt[low:high]
        rows = _last(base.entering[entry], prompts, T - begin)
        for edit in batch.edits:
            if batch.made_before(edit) == entry:
                shifted = edit.shifted(low)
                if edit.site.kind == "mlp_out":
                    before = _last(base.values[edit.site].values, prompts, rows.shape[1])
                    rows = rows + (shifted(before, T) - before)
                else:
                    rows = shifted(rows, T)
        entering[entry] = rows
    return entering


def _last(values: mx.array, prompts: NDArray[np.intp], length: int) -> mx.array:
    """The last `length` positions, or as many as are kept, of some prompts."""
    return chosen_rows(values[:, -min(length, values.shape[1]) :], prompts)


def _grow(
    anatomy: Anatomy, first: int, entering: Mapping[int, mx.array], tail: bool
) -> Callable[[int], Around]:
    layers = anatomy.num_layers

    def around(layer: int) -> Around:
        def run(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            block = BlockCall(call, args, kwargs, anatomy.resid_argument)
            h = block.resid
            if layer >= first:
                h = _joined(h, entering.get(layer), layer == first)
                h = block.last_position(h) if tail and layer == layers - 1 else block.run(h)
            if layer == layers - 1:
                h = _joined(h[:, -1:], entering.get(layers), first == layers)
            return h

        return run

    return around


def _joined(h: mx.array, rows: mx.array | None, alone: bool) -> mx.array:
    if rows is None:
        return h
    return rows if alone else mx.concatenate([h, rows])
