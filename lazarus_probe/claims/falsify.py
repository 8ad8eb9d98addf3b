"""Search for the simplest slice of prompts on which a claim fails, and confirm it on prompts never searched.

Hypothesis searches and shrinks (MacIver & Donaldson 2020); the budget, the confirmation and the verdict are ours. A
search picks the worst of many slices, and the worst of many looks bad by chance alone: so what it measured is never
the score. The score is that of the one slice it ended at, on fresh prompts, and holds as far as was searched.

A forward here is one batch of at most 64 prompts sent through the model, with all the tokens that it generates; a
measurement that sends its prompts several times costs as many.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import ceil, inf
from random import Random
from typing import Any, Protocol, runtime_checkable
from zlib import crc32

import numpy as np
from hypothesis import Phase, find, settings, target
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.falsification import Falsification, Rows, interval_of
from lazarus_probe.statistics import Interval
from lazarus_probe.tasks.strategies import Part

PER_FORWARD = 64
SCREENING, CONFIRMING = 400, 2000  # resamples of an interval: what the search finds decides nothing
PHASES = (Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
OWN = "probe-ci"
REPEATABLE = settings(derandomize=True, database=None, deadline=None)

Measure = Callable[[Sequence[Any]], Rows]


@runtime_checkable
class Slice(Protocol):
    """A kind of prompts. It is hashable, its `repr` is the code that makes it and its `str` names it in words."""

    def draw(self, count: int, rng: np.random.Generator, part: Part) -> Sequence[Any]:
        """At most `count` prompts from one half of the slice; the halves share none."""


def falsify(
    claim: Claim,
    measure: Measure,
    strategy: SearchStrategy[Any],
    *,
    seed: int,
    budget: int = 300,
    passes: int = 1,
    fresh: int = 128,
    examples: Sequence[Hashable] = (),
) -> Falsification:
    """Look for the simplest slice, or prompt, on which a claim fails.

    A slice fails in the search if the whole interval of its score, on at most 64 prompts, misses the claim's
    threshold; a single prompt if its score does. The simplest that fails is measured anew on prompts of the half
    that is not searched; if that does not confirm it, so is the one that missed by most, and then no other, so that
    a false alarm stays as rare as one of two intervals. If nothing fails, the slice nearest to failing is measured.
    Of single prompts a failure can only be asked again: there the score is the rate on others, drawn afresh.

    Under Hypothesis's own default profile the search depends on `seed` alone and keeps no database; a profile that
    the user chose is followed. Each slice is measured once.

    Args:
        claim: what should hold on each slice; its kind and threshold say what failing is.
        measure: scores the drawn prompts of one slice.
        strategy: draws slices (anything with `draw`) or prompts, the simplest first.
        seed: of the search and of the prompts.
        budget: forwards at most, shrinking and confirmation included.
        passes: how often `measure` sends each prompt through the model.
        fresh: prompts to confirm on, at most.
        examples: slices or prompts tried before the search; where one fails, that is the candidate.

    Raises:
        ClaimError: a budget that the confirmation alone would spend, or nothing to measure anywhere.
    """
    batches = ceil(fresh / PER_FORWARD) * passes
    held_back = batches + max(batches, 2 * passes)
    if budget - held_back < passes:
        raise ClaimError(
            f"budget is {budget} forwards: {held_back} are held back to confirm, give {held_back + passes} or more"
        )
    search = _Search(claim, measure, seed, passes, budget - held_back)
    simplest = _given(search, examples)
    if simplest is None:
        simplest = _searched(search, strategy)
    search.limit = budget
    if any(isinstance(where, Slice) for where in search.trials):
        return _on_fresh_prompts(search, simplest, fresh)
    return _asked_again(search, simplest, _drawn_afresh(search, strategy, fresh))


def _profile() -> str:
    """The user's profile, or ours where none was chosen: `ci` is what Hypothesis takes by itself there."""
    chosen = settings.get_current_profile_name()
    return OWN if chosen in ("default", "ci") else chosen


@dataclass(frozen=True)
class _Trial:
    rows: Rows
    slack: float


@dataclass
class _Search:
    """What has been measured, and what it cost."""

    claim: Claim
    measure: Measure
    seed: int
    passes: int
    limit: int
    spent: int = 0
    cut: bool = False
    broke: Exception | None = None
    profile: str = field(default_factory=_profile)
    trials: dict[Any, _Trial] = field(default_factory=dict)

    def fails(self, where: Any) -> bool:
        """The condition that Hypothesis searches for; past the budget, or an error, nothing fails and it ends."""
        if self.broke is not None:
            return False
        try:
            if not self.known(where) and self.spent + self.passes > self.limit:
                self.cut = True
                return False
            trial = self.trial(where)
        except Exception as error:  # Hypothesis would take it for a failure to shrink
            self.broke = error
            return False
        if trial.slack < inf:
            target(-trial.slack)
        return trial.slack < 0

    def known(self, where: Any) -> bool:
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

    def trial(self, where: Any) -> _Trial:
        """A slice or prompt on the half that is searched, measured once."""
        if not self.known(where):
            rows = self.ask(_items(where, PER_FORWARD, self.seed, "search"))
            self.trials[where] = _Trial(rows, self.slack(where, rows, SCREENING))
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
            return Rows([], [], [], [], [], [])
        self.spent += ceil(len(items) / PER_FORWARD) * self.passes
        return self.measure(items)

    def failing(self) -> list[Any]:
        """Where the claim failed, the worst first."""
        return [where for where in self.ranked() if self.trials[where].slack < 0]

    def ranked(self) -> list[Any]:
        """All that could be told, the nearest to failing first; among equals the one with more rows."""
        told = [where for where, trial in self.trials.items() if trial.slack < inf]
        return sorted(told, key=lambda where: (self.trials[where].slack, -len(self.trials[where].rows.items)))


def slack(claim: Claim, interval: Interval) -> float:
    """How far an interval is from missing the claim's threshold; below 0 it misses it whole."""
    if claim.kind == "absence":
        return claim.threshold - interval.low
    if claim.kind == "invariance":
        return min(claim.threshold - interval.low, interval.high + claim.threshold)
    return interval.high - claim.threshold


def _given(search: _Search, examples: Sequence[Hashable]) -> Any | None:
    """The first of the given ones that fails."""
    for where in examples:
        if search.spent + search.passes > search.limit:
            search.cut = True
            return None
        if search.trial(where).slack < 0:
            return where
    return None


def _searched(search: _Search, strategy: SearchStrategy[Any]) -> Any | None:
    """The simplest that fails, as far as the budget goes."""
    affordable = (search.limit - search.spent) // search.passes
    if affordable < 1:
        return None
    chosen = REPEATABLE if search.profile == OWN else settings.get_profile(search.profile)
    simplest = None
    with suppress(NoSuchExample):
        simplest = find(
            strategy,
            search.fails,
            # As many examples as can be measured: Hypothesis turns to its target when half of them are used.
            settings=settings(chosen, max_examples=affordable, deadline=None, phases=PHASES),
            random=Random(search.seed) if chosen.derandomize else None,  # noqa: S311 - no secret
            database_key=f"{search.claim.id} {search.claim.hash}".encode(),
        )
    if search.broke is not None:
        raise search.broke
    return simplest


def _on_fresh_prompts(search: _Search, simplest: Any | None, fresh: int) -> Falsification:
    """Confirm a slice on the half that was not searched."""
    ranked = search.ranked()
    if not ranked:
        raise ClaimError(
            f"claim {search.claim.id!r}: none of the {len(search.trials)} slices searched has "
            f"{search.claim.minimum_groups} independent groups that it applies to"
        )
    measured = {}
    for where in dict.fromkeys([*([] if simplest is None else [simplest]), ranked[0]]):
        rows = search.ask(_items(where, fresh, search.seed, "confirm"))
        if search.slack(where, rows, CONFIRMING) < 0:
            return _result(search, where, rows, where, rows)
        if rows.groups >= 2:
            measured[where] = rows
    if not measured:
        raise ClaimError(
            f"claim {search.claim.id!r}: the half of {ranked[0]} that was not searched is too small"
        )
    return _result(search, *list(measured.items())[-1])


def _asked_again(search: _Search, simplest: Any | None, items: Sequence[Any]) -> Falsification:
    """The score of fresh prompts, beside the simplest prompt that fails when it is asked by itself."""
    rows = search.ask(items)
    for where in dict.fromkeys([] if simplest is None else [simplest, *search.failing()[:1]]):
        again = search.ask([where])
        if search.slack(where, again, CONFIRMING) < 0:
            return _result(search, None, rows, where, again)
    return _result(search, None, rows)


def _drawn_afresh(search: _Search, strategy: SearchStrategy[Any], fresh: int) -> list[Any]:
    """Prompts that the search did not measure, as the same strategy draws them."""
    drawn: dict[Any, None] = {}

    def keep(item: Any) -> bool:
        if item not in search.trials and len(drawn) < fresh:
            drawn[item] = None
        return False

    once = settings(REPEATABLE, max_examples=4 * fresh + len(search.trials), phases=[Phase.generate])
    with suppress(NoSuchExample):
        find(strategy, keep, settings=once, random=Random(f"{search.seed} fresh"))  # noqa: S311 - no secret
    if len(drawn) < 2:
        raise ClaimError(f"claim {search.claim.id!r}: the search left no fresh prompts; lower its budget")
    return list(drawn)


def _items(where: Any, count: int, seed: int, part: Part) -> Sequence[Any]:
    if not isinstance(where, Slice):
        return [where]
    own = crc32(f"{where!r} {part}".encode())  # so that a slice's prompts do not hang on when it was met
    return where.draw(count, np.random.default_rng([seed, own]), part)


def _result(
    search: _Search,
    where: Any,
    rows: Rows,
    failed: Any | None = None,
    failing: Rows | None = None,
) -> Falsification:
    return Falsification(
        claim=search.claim,
        where=where,
        rows=rows,
        failed=failed,
        failing=failing,
        searched={str(place): trial.rows.mean for place, trial in search.trials.items() if trial.slack < inf},
        candidates=len(search.failing()),
        forwards=search.spent,
        budget=search.limit,
        cut=search.cut,
        profile=search.profile,
        seed=search.seed,
    )
