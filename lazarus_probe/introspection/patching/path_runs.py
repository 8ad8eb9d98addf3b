"""The four runs of path patching, with all senders in one batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.subject.batches import TOKENS_PER_BATCH
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.last_position import last_logits

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# The order of the parts of a block: a component reads the output of earlier ones.
BEFORE, ATTENTION, MLP, AFTER = range(4)
STAGE = {"embed": BEFORE, "resid_pre": BEFORE, "mlp_out": MLP, "resid_post": AFTER, "logits": AFTER}


def place_of(site: Site) -> tuple[float, int]:
    """A site's position in the order of computation: its block, and the part of the block."""
    if site.kind == "embed":
        return -1, BEFORE
    layer = float("inf") if site.layer is None else site.layer
    return layer, STAGE.get(site.kind, ATTENTION)


@dataclass(eq=False)
class Paths:
    """Pairs of one length, with the runs of source and target that all paths share."""

    subject: Subject
    tokens: mx.array
    donors: mx.array
    receiver: Site
    hold_mlps: bool
    position: int | None

    def __post_init__(self) -> None:
        if self.position is not None and not -self.tokens.shape[1] <= self.position < self.tokens.shape[1]:
            raise IndexError(
                f"position {self.position} is out of range: a prompt has {self.tokens.shape[1]} tokens"
            )
        self.held = [
            site
            for site in held_sites(self.subject, self.hold_mlps)
            if place_of(site) < place_of(self.receiver)
        ]
        with hooked(self.subject, self.held) as self.run:
            self.logits = self._logits(self.tokens)
        mx.eval([self.run[site] for site in self.held])
        self.source_logits = last_logits(self.subject, self.donors)

    def patched(self, senders: Sequence[Site], donors: mx.array) -> Iterator[tuple[int, mx.array]]:
        """By sender its index, and the logits (B, V) at the last position of the last run."""
        size = max(1, TOKENS_PER_BATCH // self.tokens.size)
        sites = list(dict.fromkeys(Site(sender.kind, sender.layer) for sender in senders))
        source = trace(self.subject, donors, sites)

        def value(sender: Site) -> mx.array:
            of_site: mx.array = source[Site(sender.kind, sender.layer)]
            return of_site if sender.head is None else of_site[:, :, sender.head]

        for begin in range(0, len(senders), size):
            part = senders[begin : begin + size]
            logits = self._runs(part, [value(sender) for sender in part])
            rows = mx.split(logits, len(part), axis=0)
            mx.eval(rows)
            yield from zip(range(begin, begin + len(part)), rows, strict=True)

    def _runs(self, senders: Sequence[Site], values: Sequence[mx.array]) -> mx.array:
        """Logits (S * B, V) of the third and fourth run, the rows of one sender after those of another."""
        tokens = mx.concatenate([self.tokens] * len(senders))
        edits = [
            self._send(row, site, value)
            for row, (site, value) in enumerate(zip(senders, values, strict=True))
        ]
        edits += self._holds(senders)
        if self.receiver.kind == "logits":
            with hooked(self.subject, (), edits):
                return self._logits(tokens)
        with hooked(self.subject, self.receiver, edits) as captured:
            forward(self.subject.model, tokens)
        received = captured[self.receiver]
        with hooked(self.subject, (), Intervention(self.receiver, lambda _: received, label="path patch")):
            return self._logits(tokens)

    def _logits(self, tokens: mx.array) -> mx.array:
        return require_finite(self.subject, tokens, last_logits(self.subject, tokens))

    def _rows(self, sender: int) -> slice:
        return slice(sender * len(self.tokens), (sender + 1) * len(self.tokens))

    def _send(self, row: int, site: Site, value: mx.array) -> Intervention:
        rows = self._rows(row)

        def edit(old: mx.array) -> mx.array:
            new = mx.array(old)
            if self.position is None:
                new[rows] = value
            else:
                new[rows, self.position] = value[:, self.position]
            return new

        return Intervention(site, edit, label="path patch")

    def _holds(self, senders: Sequence[Site]) -> list[Intervention]:
        """Freeze each attention (and MLP) after a sender, in that sender's rows."""
        holds = []
        for site in self.held:
            rows = [row for row, sender in enumerate(senders) if place_of(sender) < place_of(site)]
            if rows:
                holds.append(Intervention(site, partial(self._held, rows, self.run[site]), label="hold"))
        return holds

    def _held(self, senders: Sequence[int], value: mx.array, old: mx.array) -> mx.array:
        """A site's output, with that of the target in the rows of some senders."""
        new = mx.array(old)
        for sender in senders:
            new[self._rows(sender)] = value
        return new


def held_sites(subject: Subject, mlps: bool) -> list[Site]:
    """The sites that are frozen at their values on the target: those that mix positions, and MLPs if requested."""
    sites = []
    for layer in range(subject.num_layers):
        kinds = kinds_at(subject.anatomy, layer)
        mixing = [kind for kind in ("attn_out", "mixer_out") if kind in kinds]
        if not mixing:
            raise UnsupportedArchitecture(
                f"block {layer} of {subject.name} has no attention to hold; it cannot be path patched"
            )
        sites += [
            Site(kind, layer) for kind in (*mixing, "mlp_out") if kind in mixing or (mlps and kind in kinds)
        ]
    return sites
