"""A claim about every slice of prompts: all of them are measured a little, and the worst of them more.

A slice fails if the mean over its independent groups misses the claim's threshold. What its prompts say about that is
the wealth of a bet (`lazarus_probe.statistics.betting`), which is exact for any number of prompts, however few, and
may be added to after it was looked at: so the budget goes to where it is still open. A slice too small for that is
measured to its last prompt, and then there is nothing to estimate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf, log
from typing import Any
from zlib import crc32

import numpy as np

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.falsification import Coverage, Rows, interval_of, joined
from lazarus_probe.claims.search import PER_FORWARD, SCREENING, Search, Slice, Trial, items_of, slack
from lazarus_probe.claims.stratum import LEAST, Stratum
from lazarus_probe.statistics.betting import STRATEGIES, log_mean, log_wealth, most_failing, most_of_all
from lazarus_probe.statistics.clusters import Floats
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Strata

FIRST = (4, 32)  # prompts of each slice in the first pass, at least and at most
ROUND = 4 * PER_FORWARD  # prompts sent before it is looked at which slices need more
PER_CALL = 8 * PER_FORWARD
NO_EVIDENCE, CERTAIN = np.zeros(STRATEGIES), np.full(STRATEGIES, inf)


@dataclass
class Survey:
    """All strata of a claim, and what their prompts say of each.

    Attributes:
        search: what it costs.
        strata: in the order in which they were given.
        signed: whether scores lie in [-1, 1], and not in [0, 1]: those of an invariance, or where one is below 0.
    """

    search: Search
    strata: list[Stratum]
    signed: bool = False

    @property
    def claim(self) -> Claim:
        """What should hold on each."""
        return self.search.claim

    def evidence(self, stratum: Stratum) -> tuple[Floats, Floats]:
        """Log wealth of the bets that the claim holds there, and that it fails; infinite where it is known."""
        if not stratum.measured:
            return NO_EVIDENCE, NO_EVIDENCE
        if stratum.whole:
            fails = self.claim.misses(stratum.rows.mean, stratum.rows.mean)
            return (-CERTAIN, CERTAIN) if fails else (CERTAIN, -CERTAIN)
        return log_evidence(self.claim, list(stratum.groups.values()), -1.0 if self.signed else 0.0)

    def decided(self, stratum: Stratum) -> bool:
        """Whether its prompts tell by themselves that the claim holds there, or fails."""
        return max(map(log_mean, self.evidence(stratum))) >= log(1 / self.claim.alpha)

    def wants_more(self, stratum: Stratum) -> bool:
        """Whether it is not told, or fails and its other half is too small to confirm that: then it is sent whole."""
        small = not stratum.waiting and stratum.open and len(stratum.groups) < self.claim.minimum_groups
        return not self.decided(stratum) or (small and self.fails(stratum))

    def fails(self, stratum: Stratum) -> bool:
        """Whether its prompts tell by themselves that the claim fails there."""
        return log_mean(self.evidence(stratum)[1]) >= log(1 / self.claim.alpha)

    @property
    def hopeless(self) -> bool:
        """Whether more strata fail already than the claim allows, so that no further prompt can support it."""
        allowed = self.claim.failing_share
        return allowed is not None and sum(map(self.fails, self.strata)) > allowed * len(self.strata)

    def upper(self) -> int:
        """How many strata may fail at most: what was not measured may, unless it was left out at random.

        Where a random part of the strata was measured, half of alpha is for what the others may be.
        """
        sent = [stratum for stratum in self.strata if stratum.sent]
        empty = [stratum for stratum in self.strata if not stratum.sent and not stratum.open]
        drawn_from = len(self.strata) - len(empty)
        alpha = self.claim.alpha / (1 if len(sent) == drawn_from else 2)
        sampled = [self.evidence(stratum)[0] for stratum in sent if not (stratum.whole and stratum.measured)]
        failing = sum(stratum.whole and self.fails(stratum) for stratum in sent)
        failing += most_failing(sampled, alpha)
        return len(empty) + most_of_all(failing, len(sent), drawn_from, alpha)

    def candidates(self, failing_example: Any | None, fresh: int) -> list[Any]:
        """Slices to confirm, which are the simplest that fails and the worst; else the nearest to failing.

        They are chosen from those that promise as many fresh groups as the claim needs, if any does: what fails
        nearly everywhere need not end untold because the simplest slice is a small one. Of slices that are known to
        the last prompt one comes after all others: there are few, and no fresh ones.

        Raises:
            ClaimError: nothing was measured anywhere.
        """
        search = self.search
        if not search.trials:
            raise ClaimError(
                f"claim {self.claim.id!r}: none of the {len(self.strata)} slices has {LEAST} independent groups that "
                "it applies to"
            )
        failing = [*([] if failing_example is None else [failing_example]), *self._failing(whole=False)]
        fully_measured = self._failing(whole=True)[:1]
        failing = [where for where in failing if self._promises_enough(where, fresh)] or failing
        if failing:
            # Of slices that fail as badly the one with the most fresh prompts: the simplest may be of few groups.
            worst = min(
                failing, key=lambda where: (search.trials[where].slack, -self._fresh_prompts(where, fresh))
            )
            return [failing[0], worst, *fully_measured]
        return fully_measured or [self._nearest(fresh)]

    def _failing(self, *, whole: bool) -> list[Any]:
        trials = {
            stratum.where: self.search.trials[stratum.where] for stratum in self.strata if stratum.measured
        }
        return [
            where
            for where, trial in trials.items()
            if trial.slack < 0 and (where in self.search.whole) == whole
        ]

    def _nearest(self, fresh: int) -> Any:
        """The nearest to failing of those that promise as many fresh groups as the claim needs, if any does."""
        ranked = self.search.ranked() or list(self.search.trials)
        sampled = [where for where in ranked if where not in self.search.whole]
        enough = (where for where in sampled if self._promises_enough(where, fresh))
        return next(enough, (sampled or ranked)[0])

    def _promises_enough(self, where: Any, fresh: int) -> bool:
        """Whether the half of a slice that was not searched is likely to have as many groups as the claim needs."""
        stratum = next((stratum for stratum in self.strata if stratum.where == where), None)
        if stratum is None or not stratum.sent:
            return False
        share = len(stratum.groups) / stratum.sent
        return share * self._fresh_prompts(where, fresh) >= self.claim.minimum_groups

    def _fresh_prompts(self, where: Any, fresh: int) -> int:
        """How many prompts the half of a slice has that was not searched, `fresh` at most."""
        return len(items_of(where, fresh, self.search.seed, "confirm"))

    def learn(self, where: Any, fresh: Rows) -> None:
        """Add the results of fresh prompts of a slice, if it is one of the strata and not known already."""
        for stratum in self.strata:
            if stratum.where == where and not stratum.whole:
                stratum.add(fresh)

    def coverage(self, confirmed: Any | None) -> Coverage:
        """How much was measured, and how much may fail; `confirmed` is the slice that fails on fresh prompts too."""
        failed = [stratum for stratum in self.strata if stratum.where == confirmed or self.fails(stratum)]
        measured = [stratum for stratum in self.strata if stratum.measured]
        left_out = [stratum for stratum in self.strata if not stratum.sent and stratum.open]
        strata = Strata(
            declared=len(self.strata),
            measured=len(measured),
            failed=len(failed),
            upper=max(self.upper(), len(failed)) / len(self.strata),
            untestable=_names(
                stratum for stratum in self.strata if not stratum.measured and stratum not in left_out
            ),
        )
        return Coverage(
            strata=strata,
            failed=_names(failed),
            not_told=_names(
                stratum for stratum in measured if stratum not in failed and not self.decided(stratum)
            ),
            whole=_names(stratum for stratum in measured if stratum.whole),
            unmeasured=_names(left_out),
            budget_for_all=self.search.held_back + self.search.cost(FIRST[0] * len(self.strata)),
        )


def _names(strata: Iterable[Stratum]) -> tuple[str, ...]:
    return tuple(str(stratum.where) for stratum in strata)


def log_evidence(claim: Claim, means: Sequence[float], low: float) -> tuple[Floats, Floats]:
    """Log wealth of the bets that a mean meets the claim's threshold, and that it misses it.

    Args:
        claim: its kind and threshold say what meeting is.
        means: (N,) of independent groups, in [low, 1].
        low: the least that a score can be.

    Returns:
        Two arrays (STRATEGIES,).
    """
    scores = (np.asarray(means, dtype=np.float64) - low) / (1 - low)

    def above(value: float) -> Floats:
        return log_wealth(scores, _scaled(value, low))

    def below(value: float) -> Floats:
        return log_wealth(1 - scores, 1 - _scaled(value, low))

    at = claim.threshold
    if claim.kind == "absence":
        return below(at), above(at)
    if claim.kind == "invariance":  # that it fails is bet on from two purses, each with half of the money
        return np.minimum(below(at), above(-at)), np.logaddexp(above(at), below(-at)) - log(2)
    return above(at), below(at)


def _scaled(value: float, low: float) -> float:
    return min(max((value - low) / (1 - low), 0.0), 1.0)


def survey(search: Search, slices: Sequence[Slice]) -> Survey:
    """Measure every stratum a little, then those that are still open, as far as the budget goes.

    Raises:
        ClaimError: fewer than two strata, or two that are the same.
    """
    strata = [Stratum(where, []) for where in _checked(search.claim, slices)]
    for stratum in strata:
        if search.measured(stratum.where):  # an example that was given
            stratum.sent = PER_FORWARD
            stratum.add(search.trials[stratum.where].rows)
        else:
            stratum.waiting = list(items_of(stratum.where, PER_FORWARD, search.seed, "search"))
    surveyed = Survey(search, strata, signed=search.claim.kind == "invariance")
    _first_pass(surveyed)
    _refine(surveyed)
    search.trials.update({stratum.where: _trial(search, stratum) for stratum in strata if stratum.measured})
    search.whole.update(
        {stratum.where: stratum.rows for stratum in strata if stratum.measured and stratum.whole}
    )
    return surveyed


def _checked(claim: Claim, slices: Sequence[Slice]) -> Sequence[Slice]:
    if len(slices) < 2:
        only = f"one slice, {slices[0]}" if slices else "no slice"
        raise ClaimError(
            f"claim {claim.id!r} is to hold everywhere, and there is {only}: give two or more, or claim it of that one"
        )
    where, times = Counter(slices).most_common(1)[0]
    if times > 1:
        raise ClaimError(f"claim {claim.id!r}: the slice {where} is given {times} times: give each once")
    return slices


def _first_pass(surveyed: Survey) -> None:
    """A few prompts of every stratum, from half of the budget; of as many as it allows, drawn at random, if not.

    The fewest come first: a model that fails nearly everywhere is known by those.
    """
    search, strata = surveyed.search, [stratum for stratum in surveyed.strata if not stratum.sent]
    if not strata:
        return
    prompts = search.affordable
    count = min(max(prompts // (2 * len(strata)), FIRST[0]), FIRST[1])
    if len(strata) * count > prompts:
        order = np.random.default_rng([search.seed, crc32(b"strata")]).permutation(len(strata))
        strata = [strata[index] for index in order[: prompts // count]]
        search.cut = True
    # Whole forwards, so that looking after the first few costs nothing where the rest is sent as well.
    padded = -FIRST[0] * len(strata) % PER_FORWARD
    fewest = [min(FIRST[0] + (index < padded), count) for index in range(len(strata))]
    _send(surveyed, [(s, s.take(few, few, search.seed)) for s, few in zip(strata, fewest, strict=True)])
    rest = [(s, count - few) for s, few in zip(strata, fewest, strict=True) if s.waiting and few < count]
    if rest and not surveyed.hopeless:
        _send(surveyed, [(stratum, stratum.take(more, more, search.seed)) for stratum, more in rest])


def _refine(surveyed: Survey) -> None:
    """Twice as many prompts for what is undecided, the likeliest to fail first, until the budget is spent.

    Where more strata fail than the claim allows, no more are sent: which of them is the simplest is known.
    """
    search = surveyed.search
    while not surveyed.hopeless:
        waiting = [stratum for stratum in surveyed.strata if stratum.sent and surveyed.wants_more(stratum)]
        waiting.sort(key=lambda stratum: log_mean(surveyed.evidence(stratum)[0]))
        room = min(search.affordable, ROUND)
        parts: list[tuple[Stratum, list[Any]]] = []
        for stratum in waiting:
            taken = stratum.take(max(stratum.sent, FIRST[0]), room, search.seed)
            room -= len(taken)
            parts += [(stratum, taken)] if taken else []
        if not parts:
            search.cut |= any(stratum.open for stratum in waiting)
            return
        _send(surveyed, parts)


def _send(surveyed: Survey, parts: Sequence[tuple[Stratum, list[Any]]]) -> None:
    """Measure prompts of several strata together, and give each its rows."""
    owners = [stratum for stratum, items in parts for _ in items]
    items = list(chain.from_iterable(items for _, items in parts))
    rows_of: dict[int, list[Rows]] = {}
    for start in range(0, len(items), PER_CALL):
        some = items[start : start + PER_CALL]
        rows = surveyed.search.ask(some)
        of_row = _owners(surveyed.claim, some, owners[start : start + PER_CALL], rows)
        for owner in {id(stratum) for stratum in of_row}:
            rows_of.setdefault(owner, []).append(
                rows.some([index for index, stratum in enumerate(of_row) if id(stratum) == owner])
            )
    for stratum, sent in parts:
        stratum.sent += len(sent)
        stratum.add(joined(rows_of.get(id(stratum), [])))
        surveyed.signed |= any(score < 0 for score in stratum.groups.values())


def _owners(claim: Claim, items: Sequence[Any], owners: Sequence[Stratum], rows: Rows) -> list[Stratum]:
    """The stratum of each row; a prompt that two strata share comes back for each of them, in their order."""
    queues: dict[int, list[Stratum]] = {}
    for item, owner in zip(items, owners, strict=True):
        queues.setdefault(id(item), []).append(owner)
    if stranger := next((item for item in rows.items if not queues.get(id(item))), None):
        raise ClaimError(
            f"claim {claim.id!r}: `measure` gives back {stranger!r}, which it was not given: the items of its rows "
            "must be those it was called with, less those that the claim says nothing about"
        )
    return [queues[id(item)].pop(0) for item in rows.items]


def _trial(search: Search, stratum: Stratum) -> Trial:
    mean = stratum.rows.mean
    interval = Interval(mean, mean) if stratum.whole else interval_of(stratum.rows, search.seed, SCREENING)
    return Trial(stratum.rows, slack(search.claim, interval) if interval else inf)
