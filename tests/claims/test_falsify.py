"""The search for counterexamples, on slices whose true rates are known and on the bundled model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.falsification import Rows
from lazarus_probe.claims.falsify import falsify
from lazarus_probe.claims.verdict import judge
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.subject.generate import greedy
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tasks.arithmetic import is_answer
from lazarus_probe.tasks.prompts import Question
from lazarus_probe.tasks.strategies import ArithmeticSlice, arithmetic_slices
from tests.cases import slow_except


@dataclass(frozen=True)
class Cell:
    """A slice of a made-up space; its prompts are numbered, even ones are searched and odd ones kept."""

    row: int
    column: int

    def draw(self, count: int, rng: np.random.Generator, part: str) -> list[tuple[Cell, int, int]]:
        salt = int(rng.integers(2**31))
        return [(self, 2 * number + (part == "confirm"), salt) for number in range(count)]


Item = tuple[Cell, int, int]
CELLS = st.builds(Cell, st.integers(0, 19), st.integers(0, 9))


def rows_of(items: Sequence[Any], scores: Sequence[float]) -> Rows:
    names = [str(item) for item in items]
    return Rows(
        items, scores, names, names, ["1"] * len(items), [f"{score:g}" for score in scores], len(items)
    )


def chance(rate: Callable[[Cell], float]) -> Callable[[Sequence[Item]], Rows]:
    """Right at a cell's rate, each prompt always the same."""

    def measure(items: Sequence[Item]) -> Rows:
        cell, _, salt = items[0]
        luck = np.random.default_rng([cell.row, cell.column, salt]).random(256)
        return rows_of(items, [float(luck[number] < rate(cell)) for _, number, _ in items])

    return measure


def common(cell: Cell) -> float:
    return 0.2 if cell.row >= 7 and cell.column >= 3 else 0.99


def rare(cell: Cell) -> float:
    """Worse towards one corner of 200 cells, and below the threshold on six."""
    return 0.5 if cell.row >= 17 and cell.column >= 8 else 0.999 - 0.002 * (cell.row + cell.column)


def test_a_common_failure_is_found_and_shrunk(a_claim):
    """Where a third of the slices fail, 20 of 20 seeds end at the simplest of them, confirmed on fresh prompts."""
    for seed in range(20):
        found = falsify(a_claim(), chance(common), CELLS, seed=seed)
        assert found.failed == Cell(7, 3)
        assert found.counterexample.high < 0.9


@pytest.mark.slow
def test_a_rare_failure_is_mostly_found(a_claim):
    """Where three slices in a hundred fail, most seeds find one of them, and none reports another."""
    found = [falsify(a_claim(), chance(rare), CELLS, seed=seed).failed for seed in range(20)]
    assert sum(where is not None for where in found) >= 15
    assert all(where is None or rare(where) == 0.5 for where in found)


@pytest.mark.parametrize("seeds", slow_except([50, 200], 50))
def test_false_alarms_are_rare(a_claim, seeds):
    """Where no slice fails but all lie on the threshold, which is the worst case, at most alpha of the seeds alarm."""
    claim = a_claim()
    alarms = sum(
        falsify(claim, chance(lambda _: 0.9), CELLS, seed=seed, budget=16).failed is not None
        for seed in range(seeds)
    )
    interval = exact(alarms, seeds)
    print(f"{alarms} false alarms in {seeds} searches, {interval}")
    assert interval.low <= claim.alpha
    assert alarms / seeds <= claim.alpha


@pytest.mark.slow
def test_the_search_alone_would_alarm(a_claim):
    """On the threshold the search itself fails slices all the time: it is the fresh prompts that hold it back."""
    found = [falsify(a_claim(), chance(lambda _: 0.9), CELLS, seed=seed, budget=60) for seed in range(20)]
    assert sum(each.candidates > 0 for each in found) >= 10
    said = [each.measurement("accuracy", none=np.zeros(len(each.rows.items))).place for each in found]
    assert sum("failed there and none was confirmed" in place for place in said) >= 10


@pytest.mark.slow
def test_the_score_is_not_the_worst_of_many(a_claim):
    """The score of a search that confirms nothing is that of fresh prompts: on average the true rate."""
    found = [
        falsify(a_claim(threshold=0.5), chance(lambda _: 0.9), CELLS, seed=seed, budget=40)
        for seed in range(30)
    ]
    lowest = np.mean([min(each.searched.values()) for each in found])
    assert lowest < 0.85
    assert np.mean([each.rows.mean for each in found]) == pytest.approx(0.9, abs=0.015)


@pytest.mark.parametrize("rate", [common, rare, lambda _: 0.9, lambda _: 0.0])
@pytest.mark.parametrize(("budget", "passes"), [(5, 1), (9, 1), (30, 1), (31, 3)])
def test_the_budget_is_never_exceeded(a_claim, rate, budget, passes):
    """Search, shrinking and confirmation together send no more batches than the budget, and count them right."""
    sent = []
    measure = chance(rate)

    def counted(items):
        sent.append(-(-len(items) // 64) * passes)
        return measure(items)

    found = falsify(a_claim(), counted, CELLS, seed=1, budget=budget, passes=passes)
    assert sum(sent) == found.forwards <= budget


def test_a_spent_budget_keeps_the_simplest_so_far(a_claim):
    """Cut while it shrinks, the search ends at a slice that fails, simpler than the first it met or equal."""
    met = []
    measure = chance(common)

    def watched(items):
        met.append(items[0][0])
        return measure(items)

    whole = falsify(a_claim(), watched, CELLS, seed=3)
    first = next(cell for cell in met if common(cell) < 0.9)
    budget = met.index(first) + 1 + 2 + 4  # two slices into shrinking, four held back
    cut = falsify(a_claim(), chance(common), CELLS, seed=3, budget=budget)
    assert cut.cut
    assert not whole.cut
    assert common(cut.failed) < 0.9
    assert (cut.failed.row, cut.failed.column) <= (first.row, first.column)
    assert len(cut.searched) == budget - 4


def test_the_same_seed_is_the_same_search(a_claim):
    """Under the default profile two searches of one seed are equal to the last number; another seed differs."""
    first, second, other = (
        falsify(a_claim(threshold=0.1), chance(rare), CELLS, seed=seed, budget=40) for seed in (5, 5, 6)
    )
    assert first == second
    assert list(first.searched) != list(other.searched)


def test_each_slice_is_measured_once(a_claim):
    """However often the search comes back to a slice, its prompts are measured once there, and fresh ones once."""
    asked: Counter[tuple[Cell, bool]] = Counter()
    measure = chance(common)

    def counted(items):
        asked[items[0][0], items[0][1] % 2 == 1] += 1
        return measure(items)

    found = falsify(a_claim(), counted, CELLS, seed=0)
    assert set(asked.values()) == {1}
    assert [cell for cell, is_fresh in asked if is_fresh] == [found.failed]


def test_a_measure_that_wavers_is_no_trouble(a_claim):
    """A model that answers otherwise each time does not end the search with an error of Hypothesis."""
    rng = np.random.default_rng(0)
    found = falsify(
        a_claim(), lambda items: rows_of(items, (rng.random(len(items)) < 0.88).astype(float)), CELLS, seed=0
    )
    assert found.forwards <= 300


def test_given_examples_come_first(a_claim):
    """A known counterexample is tried before any search; if it still fails, nothing else is looked at."""
    known = Cell(9, 9)
    found = falsify(a_claim(), chance(common), CELLS, seed=0, examples=[Cell(0, 0), known])
    assert found.failed == known
    assert list(found.searched) == [str(Cell(0, 0)), str(known)]
    mended = falsify(a_claim(), chance(rare), CELLS, seed=0, examples=[known], budget=30)
    assert next(iter(mended.searched)) == str(known)
    assert len(mended.searched) > 2


def test_the_line_to_paste(a_claim):
    """A counterexample is printed as the example that makes the search find it at once."""
    found = falsify(a_claim(), chance(common), CELLS, seed=0)
    assert found.example == "@example(Cell(row=7, column=3))"
    again = falsify(
        a_claim(),
        chance(common),
        CELLS,
        seed=0,
        examples=[eval(found.example.removeprefix("@example("[:-1]), {"Cell": Cell})],
    )
    assert again.failed == found.failed
    assert found.example in str(found)
    assert "fails on Cell(row=7, column=3): 0." in str(found)


@pytest.mark.parametrize(
    ("kind", "threshold", "good", "bad"),
    [("absence", 0.1, 0.02, 0.6), ("invariance", 0.1, 0.0, -0.6), ("decodability", 0.9, 0.99, 0.3)],
)
def test_every_kind_of_claim(a_claim, kind, threshold, good, bad):
    """What failing is comes from the claim: too little, too much, or too far from 0 on either side."""

    def measure(items):
        rate = bad if items[0][0].column >= 5 else good
        drawn = chance(lambda _: abs(rate))(items)
        return rows_of(items, [float(np.sign(rate)) * score for score in drawn.scores])

    found = falsify(a_claim(kind=kind, threshold=threshold), measure, CELLS, seed=0)
    assert found.failed == Cell(0, 5)


def test_slices_that_are_too_small_decide_nothing(a_claim):
    """A slice with fewer independent groups than the claim needs is neither a candidate nor counted as searched."""

    def measure(items):
        cell = items[0][0]
        few = items[:4] if cell.row else items
        return rows_of(few, [0.0 if cell.row else 1.0] * len(few))

    found = falsify(a_claim(), measure, CELLS, seed=0, budget=40)
    assert found.failed is None
    assert found.where.row == 0
    assert all("row=0" in place for place in found.searched)
    with pytest.raises(ClaimError, match=r"none of the [0-9]+ slices searched has 10 independent groups"):
        falsify(a_claim(), lambda items: rows_of(items[:4], [1.0] * 4), CELLS, seed=0, budget=40)


def test_an_empty_half_is_no_measurement(a_claim):
    """A slice that has no prompts in a half is not measured there, and one without fresh ones confirms nothing."""

    @dataclass(frozen=True)
    class Uneven(Cell):
        def draw(self, count, rng, part):
            return [] if (self.row < 5) == (part == "confirm") else super().draw(count, rng, part)

    measure = chance(lambda _: 0.0)
    strategy = st.builds(Uneven, st.integers(0, 19), st.integers(0, 9))
    with pytest.raises(ClaimError, match=r"the half of .* that was not searched is too small"):
        falsify(a_claim(), measure, strategy, seed=0, budget=40)


def test_a_measure_that_breaks_is_an_error_at_once(a_claim):
    """What goes wrong in a measurement is raised as it is, and is not taken for a failure to shrink."""
    calls = []

    def broken(items):
        calls.append(items)
        raise RuntimeError("no such layer")

    with pytest.raises(RuntimeError, match="no such layer"):
        falsify(a_claim(), broken, CELLS, seed=0)
    assert len(calls) == 1


def test_what_cannot_be_remembered_is_refused(a_claim):
    """Prompts that are not hashable are refused with what would do."""
    with pytest.raises(
        ClaimError, match="the strategy draws list: give something hashable, such as a string"
    ):
        falsify(a_claim(), chance(common), st.lists(st.integers()), seed=0)
    with pytest.raises(ClaimError, match="the strategy draws Cell: give something hashable"):
        falsify(a_claim(), chance(common), CELLS, seed=0, examples=[Cell(0, [])])


def test_a_budget_for_nothing_is_refused(a_claim):
    """A budget that leaves no forward to search with is refused with the least that would do."""
    with pytest.raises(ClaimError, match="budget is 4 forwards: 4 are held back to confirm, give 5 or more"):
        falsify(a_claim(), chance(common), CELLS, seed=0, budget=4)


def test_single_prompts(a_claim):
    """A strategy of prompts gives the simplest that fails, asked anew, beside the rate on fresh prompts."""
    asked: list[int] = []

    def measure(items):
        asked.extend(items)
        return rows_of(items, [float(item < 700) for item in items])

    found = falsify(a_claim(threshold=0.5), measure, st.integers(0, 1000), seed=0)
    assert found.failed == 700
    assert asked.count(700) == 2
    assert (found.counterexample.n, found.counterexample.score) == (1, 0.0)
    measurement = found.measurement("accuracy", none=np.zeros(len(found.rows.items)))
    assert measurement.n == 128
    assert not {str(item) for item in found.rows.items} & set(found.searched)
    assert measurement.score == np.mean([float(item < 700) for item in found.rows.items])
    assert "fresh prompts" in measurement.place


def test_the_measurement(a_claim):
    """The score is of the fresh prompts of the slice that failed, with its controls, and says how far was searched."""
    found = falsify(a_claim(), chance(common), CELLS, seed=0)
    measurement = found.measurement("accuracy", nothing=np.zeros(len(found.rows.items)))
    assert (measurement.n, measurement.groups) == (128, 128)
    assert measurement.score == np.mean(found.rows.scores) == found.counterexample.score
    assert measurement.high < 0.9
    assert measurement.controls[0].gain == measurement.score
    assert measurement.counterexamples == (found.counterexample,)
    searched = len(found.searched)
    assert measurement.counted == f"accuracy on {found.failed} (simplest failing of {searched} searched)"
    assert measurement.as_dict()["details"]["counterexample"] == found.example
    assert measurement.damage is None
    damage = Damage("next token moved", 0.25, 0.2, 0.3, 40)
    edited = found.measurement("accuracy", damage=damage, nothing=np.zeros(len(found.rows.items)))
    assert edited == replace(measurement, damage=damage)
    assert (
        "; damage: next token moved 0.25 [0.20, 0.30]" in judge(a_claim(controls=["nothing"]), edited).reason
    )
    with pytest.raises(ValueError, match="control 'short' has 2 scores and 128 prompts were measured"):
        found.measurement("accuracy", short=[0.0, 1.0])


def test_the_users_profile_is_followed(a_claim):
    """A profile that the user loaded decides on repeatability; without one the search repeats itself."""
    before = settings.get_current_profile_name()
    settings.register_profile("lazarus-test-random", derandomize=False, database=None)
    settings.load_profile("lazarus-test-random")
    try:
        tried = {tuple(falsify(a_claim(), chance(rare), CELLS, seed=5, budget=40).searched) for _ in range(4)}
    finally:
        settings.load_profile(before)
    assert len(tried) > 1


def answered(subject: Subject, questions: Sequence[Question]) -> Rows:
    texts = [question.text for question in questions]
    said = greedy(subject, texts, 4)
    right = [
        float(is_answer(text, question.fact.answer)) for text, question in zip(said, questions, strict=True)
    ]
    expected = [question.fact.answer for question in questions]
    return Rows(questions, right, [question.family for question in questions], texts, expected, said)


def test_a_gap_planted_in_the_organism(a_claim: Callable[..., Claim], organism: Subject):
    """A model whose `product` is unlearned fails there and nowhere else, and the search ends there."""
    model = deepcopy(organism.model)
    table, product, total = (
        model.model.embed_tokens.weight, *(organism.encode(f"The{word}")[-1] for word in (" product", " sum"))
    )  # fmt: skip
    table[product] = table[total]  # `The product of 7 and 8 is` now reads as their sum
    gap = Subject.from_model(model, organism.tokenizer, "gap", organism.config)
    slices = arithmetic_slices(["add", "multiply"], ["spaced", "noun"], [(1, 2), (2, 2)])
    found, whole = (
        falsify(a_claim(), partial(answered, subject), slices, seed=0, budget=16)
        for subject in (gap, organism)
    )
    assert found.failed == ArithmeticSlice("multiply", "noun", (1, 2))
    assert len(found.coverage.failed) == 2
    assert whole.failed is None
    assert whole.coverage.failed == ()


def test_an_untrained_model_fails_everywhere(a_claim: Callable[..., Claim], organism: Subject):
    """An untrained model is measured on all 108 slices, fails on each, and the simplest of all is reported."""
    untrained = organism.untrained(1)
    found = falsify(a_claim(), partial(answered, untrained), arithmetic_slices(), seed=0, budget=24, fresh=64)
    assert found.failed == ArithmeticSlice("add", "spaced", (1, 1))
    assert found.counterexample.score < 0.1
    strata = found.coverage.strata
    assert (strata.declared, strata.measured, strata.failed, strata.upper) == (108, 108, 108, 1.0)
