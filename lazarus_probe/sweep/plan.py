"""Everything about a sweep that is settled before it runs."""

# ruff: noqa: N806 - T is the name that the field gives to the length

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.batches import by_length
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.branch import entry_of
from lazarus_probe.sweep.grid import ALL, NOWHERE, Grid
from lazarus_probe.sweep.memory import WIDTHS, Limits, limits
from lazarus_probe.sweep.metrics import Answer, Reader
from lazarus_probe.sweep.record import Recorded, record
from lazarus_probe.sweep.routes import Route
from lazarus_probe.sweep.sources import Kept, Source

# Up to here a forward costs more by its number of steps than by their size.
JOINT_TOKENS = 256


@dataclass(frozen=True, eq=False)
class Plan:
    """A sweep whose arguments have been checked.

    Attributes:
        subject: the model.
        targets: token ids of every prompt.
        grid: the cells.
        sources: by name, as given.
        donors: by source, token ids of its prompts; None for a source without.
        tables: by source, the values or rows that it holds for each site.
        reader: metrics of the logits.
        answer: the metric of what is generated, if any.
        route: how this model is swept.
        blend: share of the source's value in what is put in.
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
        found = [
            site.kind == "logits" or (site.layer == last and site.kind in self.route.ends)
            for site in self.grid.sites
        ]
        return np.array(found, dtype=bool)

    @property
    def wholes(self) -> list[Site]:
        """The sites without their heads."""
        return list(dict.fromkeys(Site(site.kind, site.layer) for site in self.grid.sites))

    @cached_property
    def at(self) -> Mapping[int, NDArray[np.intp]]:
        """By the length of a prompt, where each position of the grid lies in it (positions,)."""
        prompts = [*self.targets, *(ids for donors in self.donors.values() for ids in donors or ())]
        return {length: self.grid.at(length) for length in {len(ids) for ids in prompts}}

    def taken(self, prompts: NDArray[np.intp]) -> NDArray[np.intp]:
        """(B, sources, positions) where each position lies in each source's prompt."""
        given = [self.targets if donors is None else donors for donors in self.donors.values()]
        return np.array([[self.at[len(ids[prompt])] for ids in given] for prompt in prompts])

    def cells(self) -> int:
        """How many cells there are, over all prompts and sources."""
        taken = self.taken(np.arange(len(self.targets)))
        own = np.array([self.at[len(ids)] for ids in self.targets])
        exist = (taken != NOWHERE) & (own != NOWHERE)[:, None]
        return int((exist * self.grid.wanted.sum(axis=0)).sum())

    def first(self, length: int) -> int:
        """The first position of a prompt at which anything is done."""
        places = self.at[length]
        return 0 if ALL in places else int(places[places != NOWHERE].min(initial=length - 1))

    def record(
        self, targets: mx.array, donors: Mapping[str, mx.array]
    ) -> tuple[Recorded, dict[str, Recorded]]:
        """The untouched runs of targets (B, T) and of every source's prompts, in one forward where that is small."""
        if not donors or (1 + len(donors)) * targets.size > JOINT_TOKENS:
            return self.record_targets(targets), {
                name: self.record_donors(ids) for name, ids in donors.items()
            }
        own, tail = self.route.own, self._donor_tail
        sites = list(dict.fromkeys([*self._target_sites, *self.wholes]))
        tokens, start = mx.concatenate([targets, *donors.values()]), self.first(targets.shape[1])
        anatomy, blocks = self.subject.anatomy, self._blocks
        joint = record(anatomy, tokens, sites, blocks, own=own, tail=tail, start=start if own else 0)
        parts = [joint.rows(begin, begin + len(targets)) for begin in range(0, len(tokens), len(targets))]
        return parts[0], dict(zip(donors, parts[1:], strict=True))

    def record_targets(self, tokens: mx.array) -> Recorded:
        """The untouched run of targets (B, T), with what rows start from."""
        own, tail = self.route.own, self.route.tail
        start = self.first(tokens.shape[1]) if own else 0
        anatomy = self.subject.anatomy
        return record(anatomy, tokens, self._target_sites, self._blocks, own=own, tail=tail, start=start)

    def record_donors(self, tokens: mx.array) -> Recorded:
        """The untouched run of donors (B, T), with the values that are put into the targets."""
        tail, start = self._donor_tail, self.first(tokens.shape[1])
        return record(self.subject.anatomy, tokens, self.wholes, (), own=tail, tail=tail, start=start)

    def record_unequal(self, prompts: Sequence[Sequence[int]]) -> Recorded:
        """The untouched runs of donors of several lengths; values of the shorter ones are padded at their end."""
        longest, order, logits = max(map(len, prompts)), list[int](), list[mx.array]()
        values: dict[Site, list[mx.array]] = {site: [] for site in self.wholes}
        for rows, tokens in by_length(prompts):
            run = record(self.subject.anatomy, tokens, self.wholes, (), own=False, tail=False)
            order += rows
            logits.append(run.logits)
            for site, kept in run.values.items():
                widths = [(0, 0), (0, longest - tokens.shape[1]), *[(0, 0)] * (kept.values.ndim - 2)]
                values[site].append(mx.pad(kept.values, widths))
        back = mx.array(np.argsort(order))
        joined = {site: Kept(mx.concatenate(parts)[back]) for site, parts in values.items()}
        return Recorded(mx.concatenate(logits)[back], {}, joined, None)

    @property
    def _donor_tail(self) -> bool:
        # Whole forwards read the logits of every position.
        return self.route.tail and not any(site.kind in self.route.whole for site in self.grid.sites)

    @cached_property
    def _blocks(self) -> list[int]:
        return [] if self.route.name == "full" else sorted(set(self.entries.tolist()))

    @cached_property
    def _target_sites(self) -> list[Site]:
        return [site for site in self.wholes if site.kind == "mlp_out" and self.route.adds_mlp]


def bucket_limits(plan: Plan, tokens: mx.array, cap: int) -> Limits:
    """How many of some prompts (B, T) of equal length fit under a cap on memory."""
    one, T = tokens[:1], tokens.shape[1]
    width = plan.subject.anatomy.hidden_size
    jobs = int(plan.grid.wanted.sum()) * len(plan.sources)
    rough = 4 * T * width * (WIDTHS * (jobs + 1) + plan.subject.num_layers * len(plan.grid.sites) * 8)
    if len(tokens) * rough < cap // 8:
        return Limits(len(tokens), len(tokens) * (jobs + 1))
    targets = plan.record_targets(one)
    prompts = sum(donors is not None for donors in plan.donors.values())
    values = plan.record_donors(one).values.values() if prompts else ()
    kept = _bytes(targets.arrays()) + prompts * _bytes([value.values for value in values])
    past = _bytes(array for cache in targets.caches or [] for array in (cache.keys, cache.values))
    generated = (past or 2 * kept) if plan.answer else 0

    def run() -> list[mx.array]:
        model = plan.subject.model
        return [forward(model, one)] if plan.route.name == "full" else plan.record_targets(one).arrays()

    return limits(cap, kept, generated, width, T, jobs, run)


def _bytes(arrays: object) -> int:
    return sum(array.nbytes for array in arrays)  # type: ignore[attr-defined]
