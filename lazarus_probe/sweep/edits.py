"""Edits of some rows of a batch, each at its own position."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.hooks.places import place_of, tap_at
from lazarus_probe.hooks.sites import Site, position_axis
from lazarus_probe.sweep.grid import ALL, Jobs
from lazarus_probe.sweep.sources import Values, indices
from lazarus_probe.taps import Tap


@dataclass(frozen=True, eq=False)
class Edit:
    """The replacement of one site's value in some rows of a batch.

    Attributes:
        site: where.
        rows: (n,) which rows of the batch.
        prompts: (n,) the prompt of each row, for `values`.
        at: (n,) the position of each row, or None for all of them.
        taken: (n,) the position in the source's prompt whose value goes there; the same where `at` is None.
        values: the new values.
    """

    site: Site
    rows: NDArray[np.intp]
    prompts: NDArray[np.intp]
    at: NDArray[np.intp] | None
    taken: NDArray[np.intp]
    values: Values

    def __call__(self, value: mx.array, end: int) -> mx.array:
        """The edited value (B, L, ...) of the last L positions before position `end`."""
        offset = end - value.shape[1]
        if self.at is None:
            count = self.values.until(end) - offset
            positions = np.arange(offset, offset + count)[None].repeat(len(self.rows), axis=0)
            return self._put(value, slice(None), (slice(0, count),), positions) if count > 0 else value
        inside = (self.at >= offset) & (self.at < end)
        if not inside.any():
            return value
        return self._put(value, inside, (indices(self.at[inside] - offset),), self.taken[inside])

    def _put(
        self, value: mx.array, chosen: Any, positions: tuple[Any, ...], taken: NDArray[np.intp]
    ) -> mx.array:
        new = self.values.at(self.site, self.prompts[chosen], taken)
        where: tuple[Any, ...] = (indices(self.rows[chosen]), *positions)
        if self.site.head is not None:
            where = (*where, self.site.head)
        copy = mx.array(value)  # assignment changes the array for everyone who holds it
        if (blend := self.values.blend) != 1:
            new, own = new.astype(mx.float32), value[where].astype(mx.float32)
            # Masked scores are equal, and 0 times their minus infinity is NaN.
            new = mx.where(new == own, own, blend * new + (1 - blend) * own)
        copy[where] = new.astype(value.dtype)
        return copy

    def shifted(self, rows: int) -> Edit:
        """The same edit where the batch starts `rows` later."""
        return replace(self, rows=self.rows - rows)


def edits_of(jobs: Jobs, sites: Sequence[Site], values: Sequence[Values]) -> list[Edit]:
    """The edits of a batch whose rows are `jobs`: one per site and source, and apart for all positions."""
    key = (jobs.at == ALL, jobs.source, jobs.site)
    order = np.lexsort(key)
    order = order[jobs.site[order] >= 0]
    edits = []
    for (everywhere, source, site), rows in groupby(
        order, key=lambda row: tuple(int(part[row]) for part in key)
    ):
        chosen = np.fromiter(rows, dtype=np.intp)
        at = None if everywhere else jobs.at[chosen]
        edits.append(Edit(sites[site], chosen, jobs.prompt[chosen], at, jobs.taken[chosen], values[source]))
    return edits


def edit_taps(anatomy: Anatomy, edits: Iterable[Edit], end: int) -> list[Tap]:
    """Taps that make the edits in a call that ends at position `end` of the sequence; one per place."""
    ordered = sorted(edits, key=lambda edit: place_of(edit.site))
    groups = groupby(ordered, key=lambda edit: place_of(edit.site))
    return [_tap(anatomy, list(group), end) for _, group in groups]


def _tap(anatomy: Anatomy, edits: list[Edit], end: int) -> Tap:
    site = Site(edits[0].site.kind, edits[0].site.layer)
    axis = position_axis(site)

    def visit(value: mx.array) -> mx.array | None:
        before = moved = mx.moveaxis(value, axis, 1) if axis != 1 else value
        for edit in edits:
            moved = edit(moved, end)
        # An edit that acts on a position computed now returns a new array.
        return None if moved is before else mx.moveaxis(moved, 1, axis)

    return tap_at(anatomy, site, visit)
