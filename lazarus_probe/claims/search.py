"""What a search for counterexamples has measured, and what it cost."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any, Protocol, runtime_checkable
from zlib import crc32

import numpy as np
from hypothesis import settings, target

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.falsification import NO_ROWS, Rows, interval_of
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.tasks.strategies import Part

PER_FORWARD = 64
SCREENING, CONFIRMING = 400, 2000  # resamples of an interval: what the search finds decides nothing
OWN = "probe-ci"

Measure = Callable[[Sequence[Any]], Rows]


@runtime_checkable
class Slice(Protocol):
    """A kind of prompts. It is hashable, its `repr` is the code that makes it and its `str` names it in words."""

    def draw(self, count: int, rng: np.random.Generator, part: Part) -> Sequence[Any]:
        """`count` prompts from one half of the slice, or all of the half if it has fewer; the halves share none."""


def _profile() -> str:
    """The user's profile, or ours where none was chosen: `ci` is what Hypothesis takes by itself there."""
    chosen = settings.get_current_profile_name()
    return OWN if chosen in ("default", "ci") else chosen


@dataclass(frozen=True)
class Trial:
    """A slice or prompt on what was searched of it, and how far it is from failing."""

    rows: Rows
    slack: float


@dataclass
class Search:
    """What has been measured, and what it cost.

    Attributes:
        claim: that is searched.
        measure: scores prompts.
        seed: of the prompts drawn.
        passes: how often `measure` sends each prompt through the model.
        limit: forwards that may be spent so far.
        held_back: forwards kept for confirming.
        spent: forwards.
        cut: whether it ended because the budget did.
        broke: what a measurement raised within Hypothesis.
        profile: of Hypothesis.
        trials: what was measured.
        whole: slices of which every prompt was measured, so that nothing is left to confirm on and no need to.
    """

    claim: Claim
    measure: Measure
    seed: int
    passes: int
    limit: int
    held_back: int
    spent: int = 0
    cut: bool = False
    broke: Exception | None = None
    profile: str = field(default_factory=_profile)
    trials: dict[Any, Trial] = field(default_factory=dict)
    whole: dict[Any, Rows] = field(default_factory=dict)

    def fails(self, where: Any) -> bool:
        """The condition that Hypothesis searches for; past the budget, or an error, nothing fails and it ends."""
        if self.broke is not None:
            return False
        try:
            if not self.measured(where) and self.spent + self.passes > self.limit:
                self.cut = True
                return False
            trial = self.trial(where)
        except Exception as error:  # Hypothesis would take it for a failure to shrink
            self.broke = error
            return False
        if trial.slack < inf:
            target(-trial.slack)
        return trial.slack < 0

    def measured(self, where: Any) -> bool:
        """Whether it was measured.

        Raises:
            ClaimError: it cannot be remembered.
        """
        try:
            return where in self.trials
        except TypeError:
            raise ClaimError(
                f"claim {self.claim.id!r}: the strategy draws {type(where).__name__}: give something hashable, such "
                "as a string or a frozen dataclass"
            ) from None

    def trial(self, where: Any) -> Trial:
        """A slice or prompt on the half that is searched, measured once."""
        if not self.measured(where):
            rows = self.ask(items_of(where, PER_FORWARD, self.seed, "search"))
            self.trials[where] = Trial(rows, self.slack(where, rows, SCREENING))
        return self.trials[where]

    def slack(self, where: Any, rows: Rows, draws: int) -> float:
        """How far a slice or prompt is from failing; infinite if its rows are too few to tell."""
        if not isinstance(where, Slice):
            return slack(self.claim, Interval(rows.mean, rows.mean)) if rows.items else inf
        interval = interval_of(rows, self.seed, draws)
        enough = interval is not None and rows.groups >= self.claim.minimum_groups
        return slack(self.claim, interval) if interval and enough else inf

    def ask(self, items: Sequence[Any]) -> Rows:
        """Measure prompts, if there are any, and count the forwards."""
        if not items:
            return NO_ROWS
        self.spent += self.cost(len(items))
        return self.measure(items)

    def cost(self, prompts: int) -> int:
        """The forwards that so many prompts take."""
        return ceil(prompts / PER_FORWARD) * self.passes

    @property
    def affordable(self) -> int:
        """How many prompts the budget still allows."""
        return max(0, self.limit - self.spent) // self.passes * PER_FORWARD

    def failing(self) -> list[Any]:
        """Where the claim failed, the worst first."""
        return [where for where in self.ranked() if self.trials[where].slack < 0]

    def ranked(self) -> list[Any]:
        """All that could be decided, the nearest to failing first; among equals the one with more rows."""
        decided = [where for where, trial in self.trials.items() if trial.slack < inf]
        return sorted(
            decided, key=lambda where: (self.trials[where].slack, -len(self.trials[where].rows.items))
        )


def slack(claim: Claim, interval: Interval) -> float:
    """How far an interval is from missing the claim's threshold; below 0 it misses it whole."""
    if claim.kind == "absence":
        return claim.threshold - interval.low
    if claim.kind == "invariance":
        return min(claim.threshold - interval.low, interval.high + claim.threshold)
    return interval.high - claim.threshold


def items_of(where: Any, count: int, seed: int, part: Part) -> Sequence[Any]:
    """Prompts of a slice, the same in every run of a seed; a single prompt is itself."""
    if not isinstance(where, Slice):
        return [where]
    own = crc32(f"{where!r} {part}".encode())  # so that a slice's prompts do not hang on when it was met
    return where.draw(count, np.random.default_rng([seed, own]), part)
