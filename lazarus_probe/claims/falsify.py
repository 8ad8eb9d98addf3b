"""Search for the simplest slice of prompts on which a claim fails, and confirm it on prompts never searched.

Of a list of slices every one is measured (`lazarus_probe.claims.strata`); where a strategy draws slices or prompts,
Hypothesis searches and shrinks (MacIver & Donaldson 2020). The budget, the confirmation and the verdict are ours. A
search picks the worst of many slices, and the worst of many looks bad by chance alone: so what it measured is never
the score. The score is that of the one slice it ended at, on fresh prompts.

A forward here is one batch of at most 64 prompts sent through the model, with all the tokens that it generates; a
measurement that sends its prompts several times costs as many.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from contextlib import suppress
from math import ceil, inf
from random import Random
from typing import Any

from hypothesis import Phase, find, settings
from hypothesis.errors import NoSuchExample
from hypothesis.strategies import SearchStrategy

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.falsification import Coverage, Falsification, Rows
from lazarus_probe.claims.search import (
    CONFIRMING,
    OWN,
    PER_FORWARD,
    Measure,
    Search,
    Slice,
    items_of,
)
from lazarus_probe.claims.strata import Survey, survey

__all__ = ["REPEATABLE", "Measure", "Rows", "Slice", "falsify"]

PHASES = (Phase.reuse, Phase.generate, Phase.target, Phase.shrink)
REPEATABLE = settings(derandomize=True, database=None, deadline=None)


def falsify(
    claim: Claim,
    measure: Measure,
    slices: Sequence[Slice] | SearchStrategy[Any],
    *,
    seed: int,
    budget: int = 300,
    passes: int = 1,
    fresh: int = 128,
    examples: Sequence[Hashable] = (),
) -> Falsification:
    """Look for the simplest slice, or prompt, on which a claim fails.

    Of a list of slices, such as `arithmetic_slices()`, every one is measured. Half of the budget goes to a few prompts
    of each, sent together; the rest to those whose prompts do not yet tell, the likeliest to fail first, up to 64
    prompts of each. A slice that has fewer, and does not tell, is measured to its last prompt, and then it is known
    and not estimated: so no slice is too small to be decided. What the prompts say of each is evidence that holds for
    any number of them (`claims.strata.log_evidence`), and so does the bound on the share of slices that may fail,
    `coverage.strata.upper`, which is too low at most alpha of the time. A slice of which fewer than two groups
    apply counts in it as failing, and stands in `untestable`. If the budget does not reach all slices, those
    that it reaches are drawn at random, and the bound allows for the others. Once more slices fail than the claim
    allows (`failing_share`), nothing can support it, and what is left of the budget is only spent on confirming.

    A slice fails in the search if the whole interval of its score, on at most 64 prompts, misses the claim's
    threshold; a single prompt if its score does. The simplest that fails is measured anew on prompts of the half
    that is not searched; if that does not confirm it, so is the one that missed by most, and then no other, so that
    a false alarm stays as rare as one of two intervals. If nothing fails, the slice nearest to failing is measured:
    the score is that of the worst slice, not a mean over slices, in which one that fails would drown.
    Of single prompts a failure can only be asked again: there the score is the rate on others, drawn afresh.

    A strategy says neither how many slices there are nor which were missed: it gives no bound, and cannot support
    what is claimed of all. Under Hypothesis's own default profile its search depends on `seed` alone and keeps no
    database; a profile that the user chose is followed. Each slice is measured once.

    Args:
        claim: what should hold on each slice; its kind and threshold say what failing is.
        measure: scores drawn prompts; of a list of slices, those of several at once. The items of its rows are the
            objects that it was given, in any order, less those that the claim says nothing about.
        slices: a list of two or more (anything with `draw`), the simplest first; or a strategy that draws slices or
            prompts.
        seed: of the search and of the prompts.
        budget: forwards at most, shrinking and confirmation included.
        passes: how often `measure` sends each prompt through the model.
        fresh: prompts to confirm on, at most.
        examples: slices or prompts tried before the search; where one fails, that is the candidate.

    Raises:
        ClaimError: a budget that the confirmation alone would spend, nothing to measure anywhere, one slice only, a
            slice given twice, or rows of what `measure` was not given.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe import Rows, falsify
        >>> from lazarus_probe.claims import read_claims
        >>> from lazarus_probe.subject import greedy
        >>> from lazarus_probe.tasks import arithmetic_slices
        >>> def measure(questions):
        ...     prompts = [question.text for question in questions]
        ...     answers = [str(question.fact.answer) for question in questions]
        ...     completions = greedy(subject, prompts, max_tokens=3)
        ...     scores = [float(text.strip() == answer) for text, answer in zip(completions, answers, strict=True)]
        ...     families = [question.family for question in questions]
        ...     return Rows(questions, scores, families, prompts, answers, completions)
        >>> claim = read_claims(Path("expectations"))["answers-products"]
        >>> slices = arithmetic_slices(["multiply"], ["compact", "spaced"], [(1, 1)])
        >>> result = falsify(claim, measure, slices, seed=0, budget=100)
        >>> result.failed is None, result.coverage.unmeasured
        (True, ())
    """
    batches = ceil(fresh / PER_FORWARD) * passes
    held_back = batches + max(batches, 2 * passes)
    if budget - held_back < passes:
        raise ClaimError(
            f"budget is {budget} forwards: {held_back} are held back to confirm, give {held_back + passes} or more"
        )
    search = Search(claim, measure, seed, passes, budget - held_back, held_back)
    simplest = _failing_example(search, examples)
    if not isinstance(slices, SearchStrategy):
        return _everywhere(survey(search, slices), simplest, fresh, budget)
    if simplest is None:
        simplest = _searched(search, slices)
    search.limit = budget
    if any(isinstance(where, Slice) for where in search.trials):
        return _somewhere(search, simplest, fresh)
    return _asked_again(search, simplest, _drawn_afresh(search, slices, fresh))


def _failing_example(search: Search, examples: Sequence[Hashable]) -> Any | None:
    """The first of the given ones that fails."""
    for where in examples:
        if search.spent + search.passes > search.limit:
            search.cut = True
            return None
        if search.trial(where).slack < 0:
            return where
    return None


def _searched(search: Search, strategy: SearchStrategy[Any]) -> Any | None:
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


def _everywhere(surveyed: Survey, simplest: Any | None, fresh: int, budget: int) -> Falsification:
    """Confirm the slice that fails, or measure the one nearest to it, of slices that were all surveyed."""
    search = surveyed.search
    search.limit = budget
    where, rows, fails = _on_fresh_prompts(search, surveyed.candidates(simplest, fresh), fresh)
    surveyed.learn(where, rows)
    return _ended_at(search, where, rows, fails, surveyed.coverage(where if fails else None))


def _somewhere(search: Search, simplest: Any | None, fresh: int) -> Falsification:
    """Confirm a slice that Hypothesis ended at, or the one nearest to failing that it met."""
    ranked = search.ranked()
    if not ranked:
        raise ClaimError(
            f"claim {search.claim.id!r}: none of the {len(search.trials)} slices searched has "
            f"{search.claim.minimum_groups} independent groups that it applies to"
        )
    candidates = [*([] if simplest is None else [simplest]), ranked[0]]
    return _ended_at(search, *_on_fresh_prompts(search, candidates, fresh))


def _ended_at(
    search: Search, where: Any, rows: Rows, fails: bool, coverage: Coverage | None = None
) -> Falsification:
    return _result(search, where, rows, where if fails else None, rows if fails else None, coverage)


def _on_fresh_prompts(search: Search, candidates: Sequence[Any], fresh: int) -> tuple[Any, Rows, bool]:
    """The first slice that fails on the half that was not searched, or else the last one measured there."""
    measured = {}
    for where in dict.fromkeys(candidates):
        if where in search.whole:
            rows = search.whole[where]
            fails = search.claim.misses(rows.mean, rows.mean)
        else:
            rows = search.ask(items_of(where, fresh, search.seed, "confirm"))
            fails = search.slack(where, rows, CONFIRMING) < 0
        if fails:
            return where, rows, True
        if rows.groups >= 2:
            measured[where] = rows
    if not measured:
        raise ClaimError(
            f"claim {search.claim.id!r}: the half of {candidates[-1]} that was not searched is too small"
        )
    return *list(measured.items())[-1], False


def _asked_again(search: Search, simplest: Any | None, items: Sequence[Any]) -> Falsification:
    """The score of fresh prompts, with the simplest prompt that fails when it is run alone."""
    rows = search.ask(items)
    for where in dict.fromkeys([] if simplest is None else [simplest, *search.failing()[:1]]):
        repeated = search.ask([where])
        if search.slack(where, repeated, CONFIRMING) < 0:
            return _result(search, None, rows, where, repeated)
    return _result(search, None, rows)


def _drawn_afresh(search: Search, strategy: SearchStrategy[Any], fresh: int) -> list[Any]:
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


def _result(
    search: Search,
    where: Any,
    rows: Rows,
    failed: Any | None = None,
    failing: Rows | None = None,
    coverage: Coverage | None = None,
) -> Falsification:
    return Falsification(
        claim=search.claim,
        where=where,
        rows=rows,
        failed=failed,
        failing=failing,
        searched={str(where): trial.rows.mean for where, trial in search.trials.items() if trial.slack < inf},
        candidates=len(search.failing()),
        forwards=search.spent,
        budget=search.limit,
        cut=search.cut,
        profile=search.profile,
        seed=search.seed,
        coverage=coverage,
    )
