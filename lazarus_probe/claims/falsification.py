"""The result of a search for counterexamples: the slice it ended at, measured on fresh prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lazarus_probe.claims.claim import POSITIVE, Claim
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.intervals import Interval, estimate, wilson
from lazarus_probe.statistics.measurement import Counterexample, Damage, Measurement, Strata, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.statistics.rows import NAME, numbers, present

COLUMNS = ("items", "scores", "clusters", "prompts", "expected", "said")


@dataclass(frozen=True)
class Rows:
    """Prompts with their scores; those that the claim says nothing about are left out.

    Attributes:
        items: (N,) what was drawn.
        scores: (N,) what the claim's score is the mean of, each in [-1, 1].
        clusters: (N,) the independent unit of each.
        prompts: (N,) as the model met them.
        expected: (N,) what would be right.
        said: (N,) what the model said.
        tokens: of all prompts.

    Example:
        >>> from lazarus_probe import Rows
        >>> rows = Rows(
        ...     items=["7*8=", "6*9=", "3*4="],
        ...     scores=[1.0, 1.0, 0.0],
        ...     clusters=["7,8", "6,9", "3,4"],
        ...     prompts=["7*8=", "6*9=", "3*4="],
        ...     expected=[56, 54, 12],
        ...     said=["56", "54", "15"],
        ... )
        >>> round(rows.mean, 2), rows.groups
        (0.67, 3)
    """

    items: Sequence[Any]
    scores: Sequence[float]
    clusters: Sequence[str]
    prompts: Sequence[str]
    expected: Sequence[object]
    said: Sequence[str]
    tokens: int | None = None

    def __post_init__(self) -> None:
        """Refuse rows that do not match, and scores that are missing or not finite."""
        for name in COLUMNS[1:]:
            if len(getattr(self, name)) != len(self.items):
                raise ValueError(f"rows have {len(self.items)} items and {len(getattr(self, name))} {name}")
        numbers(self.scores, "scores")
        present(self.clusters, "clusters", NAME)

    @property
    def mean(self) -> float:
        """The mean score, 0 of none."""
        return float(np.mean(self.scores)) if len(self.items) else 0.0

    @property
    def groups(self) -> int:
        """How many independent units there are."""
        return len(set(self.clusters))

    def some(self, rows: Sequence[int]) -> Rows:
        """The rows at these places, without the tokens, which are counted of all together."""
        return replace(
            self, tokens=None, **{name: [getattr(self, name)[row] for row in rows] for name in COLUMNS}
        )

    def examples(self) -> tuple[Any, ...]:
        """Some of the prompts, for a report."""
        return some_examples(self.prompts, self.expected, self.said, [score > 0 for score in self.scores])


NO_ROWS = Rows([], [], [], [], [], [])


def joined(parts: Sequence[Rows]) -> Rows:
    """Rows one after the other; the tokens only of a single part."""
    if len(parts) == 1:
        return parts[0]
    return replace(
        NO_ROWS, tokens=None, **{name: [v for part in parts for v in getattr(part, name)] for name in COLUMNS}
    )


def interval_of(rows: Rows, seed: int, draws: int = 2000) -> Interval | None:
    """The interval of the mean score, by clusters, from so many resamples; None of fewer than two clusters."""
    if rows.groups < 2:
        return None
    binary = set(map(float, rows.scores)) <= {0.0, 1.0}
    return (proportion_interval if binary else paired_interval)(
        rows.scores, rows.clusters, draws=draws, seed=seed
    )


@dataclass(frozen=True)
class Coverage:
    """How much of what a claim is about was measured, where it is about every slice of a list.

    Attributes:
        strata: the numbers that a verdict rests on.
        failed: slices that fail, by an exact test at the claim's alpha of each, or confirmed.
        not_told: slices that were measured, and whose prompts show neither that the claim holds there nor that it
            fails. One by one they are open; how many of them may fail is bounded all the same.
        whole: slices so small that every prompt of them was measured, so that what they are is known.
        unmeasured: slices that the budget did not reach.
        budget_for_all: the forwards that reach every slice.
    """

    strata: Strata
    failed: tuple[str, ...]
    not_told: tuple[str, ...]
    whole: tuple[str, ...]
    unmeasured: tuple[str, ...]
    budget_for_all: int

    def __str__(self) -> str:
        strata = self.strata
        parts = [
            f"{strata.measured} of {strata.declared} slices measured, {strata.failed} failed, "
            f"at most {strata.upper:.0%} may"
        ]
        if strata.untestable:
            parts.append(f"no measurement of: {', '.join(map(repr, strata.untestable))}")
        if self.unmeasured:
            parts.append(f"{len(self.unmeasured)} not reached, a budget of {self.budget_for_all} reaches all")
        if self.not_told:
            parts.append(f"undecided by themselves: {len(self.not_told)}")
        return "; ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The names, for a report."""
        return {
            "failed": list(self.failed),
            "not_told": list(self.not_told),
            "measured_whole": list(self.whole),
            "not_reached": list(self.unmeasured),
            "budget_that_reaches_all": self.budget_for_all,
        }


@dataclass(frozen=True)
class Falsification:
    """The outcome of a search.

    Attributes:
        claim: that was to hold everywhere.
        where: the slice that the score is of; None where single prompts were searched, and the score is of others.
        rows: the fresh prompts behind the score.
        failed: the simplest slice or prompt on which the claim fails, confirmed; None if there was none.
        failing: its fresh prompts.
        searched: the score in the search of each slice or prompt that could be decided.
        candidates: how many of them failed in the search.
        forwards: spent, of `budget`.
        budget: in forwards.
        cut: whether the search ended because the budget did.
        profile: of Hypothesis; under `probe-ci` the search depends on the seed alone.
        seed: of every random choice.
        coverage: how much of all slices was measured, and how much of them may fail; None of a strategy, which does
            not say how many there are.
    """

    claim: Claim
    where: Any
    rows: Rows
    failed: Any | None
    failing: Rows | None
    searched: Mapping[str, float]
    candidates: int
    forwards: int
    budget: int
    cut: bool
    profile: str
    seed: int
    coverage: Coverage | None = None

    @property
    def example(self) -> str | None:
        """The line that makes Hypothesis, or `falsify(..., examples=[...])`, try the counterexample first."""
        return None if self.failed is None else f"@example({self.failed!r})"

    @property
    def counterexample(self) -> Counterexample | None:
        """Where the claim fails, with fresh prompts to paste."""
        if self.failing is None:
            return None
        interval = interval_of(self.failing, self.seed) or _of_few(self.failing)
        numbers = (self.failing.mean, interval.low, interval.high, len(self.failing.items))
        return Counterexample(str(self.failed), self.failing.examples(), *numbers)

    def measurement(
        self,
        unit: str,
        *,
        damage: Damage | None = None,
        unmeasured: Sequence[str] = (),
        **controls: Sequence[float] | np.ndarray[Any, Any],
    ) -> Measurement:
        """The score on the fresh prompts, against what controls reach on the same ones.

        Args:
            unit: what is counted, as in `accuracy`; where and among how many is added.
            damage: what the edit of a causal claim does to unrelated prompts.
            unmeasured: controls that are left out, since the outcome is settled without them.
            controls: (N,) scores of each control on `rows.items`, by name, or (M, N) of M models of one kind; for an
                absence or an invariance it is a positive one.

        Raises:
            ValueError: fewer than two independent groups, or a control of another length.
        """
        if self.rows.groups < 2:
            raise ValueError(f"{self.rows.groups} independent group of fresh prompts: an interval takes two")
        return rate(
            unit,
            self.rows.scores,
            self.rows.clusters,
            {name: _as_long(name, scores, self.rows) for name, scores in controls.items()},
            positive=tuple(controls) if self.claim.kind in POSITIVE else (),
            seed=self.seed,
            details=self.details(),
            tokens=self.rows.tokens,
            examples=self.rows.examples(),
            counterexamples=(self.counterexample,) if self.counterexample else (),
            strata=self.coverage.strata if self.coverage else None,
            damage=damage,
            place=self._place(),
            unmeasured=tuple(unmeasured),
        )

    def details(self) -> dict[str, Any]:
        """The search in plain numbers."""
        return {
            "slice": None if self.where is None else str(self.where),
            "counterexample": self.example,
            "searched": dict(self.searched),
            "failed_in_search": self.candidates,
            "confirmed": self.failed is not None,
            "forwards": self.forwards,
            "budget": self.budget,
            "budget_ended_the_search": self.cut,
            "profile": self.profile,
            **({"strata": self.coverage.as_dict()} if self.coverage else {}),
        }

    def _place(self) -> str:
        if self.where is None:
            return f"fresh prompts ({len(self.searched)} others searched)"
        if self.failed is not None:
            return f"{self.where} (simplest failing of {len(self.searched)} searched)"
        failed = f"; {self.candidates} failed there and none was confirmed" if self.candidates else ""
        return f"{self.where} (nearest to failing of {len(self.searched)} searched{failed})"

    def __str__(self) -> str:
        spent = f"{self.forwards} of {self.budget} forwards"
        searched = (
            f"{self.coverage}"
            if self.coverage
            else f"{len(self.searched)} searched, {self.candidates} failed there"
        )
        if self.counterexample is None:
            return f"claim {self.claim.id!r}: no counterexample confirmed; {searched}; {spent}"
        failing = self.counterexample
        numbers = f"{estimate(failing.score, failing.low, failing.high)} of {failing.n} fresh prompts"
        return f"claim {self.claim.id!r} fails on {failing.where}: {numbers}; {searched}; {spent}\n{self.example}"


def _as_long(
    name: str, scores: Sequence[float] | np.ndarray[Any, Any], rows: Rows
) -> Sequence[float] | np.ndarray[Any, Any]:
    if np.shape(scores)[-1:] != (len(rows.items),):
        raise ValueError(
            f"control {name!r} has {np.shape(scores)[-1]} scores and {len(rows.items)} prompts were measured: "
            "score it on `rows.items`"
        )
    return scores


def _of_few(rows: Rows) -> Interval:
    """The interval of one prompt or one group: as wide as one trial leaves it."""
    if rows.mean in (0.0, 1.0):
        return wilson(int(rows.mean), 1)
    return Interval(-1.0, 1.0)
