"""Everything about a sweep that is decided before it runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.batches import by_length
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.branch import entry_of
from lazarus_probe.sweep.grid import ALL, NOWHERE, Grid
from lazarus_probe.sweep.metrics import Answer, Reader
from lazarus_probe.sweep.record import Recorded, record
from lazarus_probe.sweep.routes import Route
from lazarus_probe.sweep.sources import SiteValues, Source

# Up to here the cost of a forward is in its number of steps rather than in their size.
JOINT_TOKENS = 256


@dataclass(frozen=True, eq=False)
class Plan:
    """A sweep whose arguments have been checked.

    Attributes:
        subject: the model.
        targets: token ids of every prompt.
        grid: the cells.
        sources: by name.
        donors: by source, token ids of its prompts; None for a source without.
        tables: by source, the values or rows that it holds for each site.
        reader: metrics of the logits.
        answer: the metric of the generated text, if any.
        route: how this model is swept.
        blend: share of the source's value in the patched value.
    """

    subject: Subject
    targets: Sequence[Sequence[int]]
    grid: Grid
    sources: Mapping[str, Source]
    donors: Mapping[str, Sequence[Sequence[int]] | None]
    tables: Mapping[str, Mapping[Site, mx.array]]
    reader: Reader
    answer: Answer | None
    route: Route
    blend: float = 1.0

    @cached_property
    def entries(self) -> NDArray[np.intp]:
        """For each site the block whose input is the first thing that it changes."""
        layers, adds_mlp = self.subject.num_layers, self.route.adds_mlp
        return np.array([entry_of(site, layers, adds_mlp) for site in self.grid.sites], dtype=np.intp)

    @cached_property
    def ends(self) -> NDArray[np.bool_]:
        """For each site whether it reaches the last position's logits only from the last position."""
        last = self.subject.num_layers - 1
        ends = [
            site.kind == "logits" or (site.layer == last and site.kind in self.route.ends)
            for site in self.grid.sites
        ]
        return np.array(ends, dtype=bool)

    @cached_property
    def at(self) -> Mapping[int, NDArray[np.intp]]:
        """By prompt length (positions,), each grid position as an index into the prompt."""
        prompts = [*self.targets, *(ids for donors in self.donors.values() for ids in donors or ())]
        return {length: self.grid.at(length) for length in {len(ids) for ids in prompts}}

    def taken(self, prompts: NDArray[np.intp]) -> NDArray[np.intp]:
        """(B, sources, positions) each grid position as an index into each source's prompt."""
        sources = [self.targets if donors is None else donors for donors in self.donors.values()]
        return np.array([[self.at[len(ids[prompt])] for ids in sources] for prompt in prompts])

    def cells(self) -> int:
        """How many cells there are, over all prompts and sources."""
        taken = self.taken(np.arange(len(self.targets)))
        own = np.array([self.at[len(ids)] for ids in self.targets])
        exist = (taken != NOWHERE) & (own != NOWHERE)[:, None]
        return int((exist * self.grid.wanted.sum(axis=0)).sum())

    def first(self, length: int) -> int:
        """The first position of a prompt that is patched."""
        positions = self.at[length]
        return 0 if ALL in positions else int(positions[positions != NOWHERE].min(initial=length - 1))

    def record(
        self, targets: mx.array, donors: Mapping[str, mx.array]
    ) -> tuple[Recorded, dict[str, Recorded]]:
        """The unpatched runs of targets (B, T) and of every source's prompts, in one forward where that is small."""
        if not donors or (1 + len(donors)) * targets.size > JOINT_TOKENS:
            runs = {name: self.record_donors(ids) for name, ids in donors.items()}
            return self.record_targets(targets), runs
        tokens = mx.concatenate([targets, *donors.values()])
        joint = self._record(tokens, self.grid.sites, self.route.own, self._donor_tail, self._blocks)
        parts = [joint.rows(begin, begin + len(targets)) for begin in range(0, len(tokens), len(targets))]
        return parts[0], dict(zip(donors, parts[1:], strict=True))

    def record_targets(self, tokens: mx.array) -> Recorded:
        """The unpatched run of targets (B, T), with the inputs that rows start from."""
        sites = [site for site in self.grid.sites if site.kind == "mlp_out" and self.route.adds_mlp]
        return self._record(tokens, sites, self.route.own, self.route.tail, self._blocks)

    def record_donors(self, tokens: mx.array) -> Recorded:
        """The unpatched run of donors (B, T), with the values that are patched into the targets."""
        tail, start = self._donor_tail, self.first(tokens.shape[1])
        return record(self.subject.anatomy, tokens, self.grid.sites, (), own=tail, tail=tail, start=start)

    def _record(
        self, tokens: mx.array, sites: Sequence[Site], own: bool, tail: bool, blocks: Sequence[int]
    ) -> Recorded:
        start = self.first(tokens.shape[1]) if own else 0
        return record(self.subject.anatomy, tokens, sites, blocks, own=own, tail=tail, start=start)

    def record_unequal(self, prompts: Sequence[Sequence[int]]) -> Recorded:
        """The unpatched runs of donors of several lengths; values of the shorter ones are padded at their end."""
        longest, order, logits = max(map(len, prompts)), list[int](), list[mx.array]()
        values: dict[Site, list[mx.array]] = {}
        for rows, tokens in by_length(prompts):
            run = record(self.subject.anatomy, tokens, self.grid.sites, (), own=False, tail=False)
            order += rows
            logits.append(run.logits)
            for site, value in run.values.items():
                widths = [(0, 0), (0, longest - tokens.shape[1]), *[(0, 0)] * (value.values.ndim - 2)]
                values.setdefault(site, []).append(mx.pad(value.values, widths))
        back = mx.array(np.argsort(order))
        joined = {site: SiteValues(mx.concatenate(parts)[back]) for site, parts in values.items()}
        return Recorded(mx.concatenate(logits)[back], {}, joined, None)

    @property
    def _donor_tail(self) -> bool:
        # Whole forwards read the logits of every position.
        return self.route.tail and not any(site.kind in self.route.whole for site in self.grid.sites)

    @cached_property
    def _blocks(self) -> list[int]:
        return [] if self.route.name == "full" else sorted(set(self.entries.tolist()))
