"""One slice of a list that a claim is about: what waits to be sent of it, and what came of what was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lazarus_probe.claims.falsification import NO_ROWS, Rows, joined
from lazarus_probe.claims.search import PER_FORWARD, Slice, items_of

LEAST = 2  # groups of a slice that was measured; with fewer nothing could have varied


@dataclass(eq=False)
class Stratum:
    """A slice, the prompts of it that wait to be sent, and what came of those that were.

    Attributes:
        where: the slice.
        waiting: prompts to send next.
        sent: how many were sent, of which some the claim says nothing about.
        rows: those that it is about.
        groups: the mean score of each group, over the prompts that it first came with: a later one is no new evidence.
        last: whether the other half was taken too, or is too large for it.
        whole: whether every prompt of the slice was sent.
    """

    where: Slice
    waiting: list[Any]
    sent: int = 0
    rows: Rows = NO_ROWS
    groups: dict[str, float] = field(default_factory=dict)
    last: bool = False
    whole: bool = False

    def take(self, count: int, room: int, seed: int) -> list[Any]:
        """The next prompts, `count` at most; where the half searched is at its end and small, the other half whole.

        That half is for confirming, so it is sent whole, if there is `room` for it, or not at all.
        """
        if self.waiting or not self.open:
            taken, self.waiting = self.waiting[: min(count, room)], self.waiting[min(count, room) :]
            return taken
        rest = list(items_of(self.where, PER_FORWARD, seed, "confirm"))
        self.whole = len(rest) < PER_FORWARD and len(rest) <= room
        self.last = self.whole or len(rest) == PER_FORWARD
        return rest if self.whole else []

    @property
    def open(self) -> bool:
        """Whether there are prompts of it that may be sent."""
        return bool(self.waiting) or (not self.last and self.sent < PER_FORWARD)

    def add(self, rows: Rows) -> None:
        """Keep what came of prompts that were sent together."""
        new: dict[str, list[float]] = {}
        for group, score in zip(rows.clusters, rows.scores, strict=True):
            if group not in self.groups:
                new.setdefault(group, []).append(float(score))
        self.groups.update({group: float(np.mean(scores)) for group, scores in new.items()})
        self.rows = joined([self.rows, rows])

    @property
    def measured(self) -> bool:
        """Whether there is anything to say about it."""
        return len(self.groups) >= (1 if self.whole else LEAST)
