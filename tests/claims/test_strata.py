"""Claims about every slice of a list: each is measured, and how many may fail is bounded, whatever the luck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.falsification import Falsification, Rows
from lazarus_probe.claims.falsify import falsify
from lazarus_probe.claims.strata import log_evidence
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.statistics.betting import log_mean
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.tasks.strategies import DIGITS, PairSlice, pair_slices
from tests.cases import slow_except

SHARE = 0.05


@dataclass(frozen=True)
class One:
    """A numbered slice with so many prompts in each half."""

    number: int
    size: int = 10**6

    def draw(self, count: int, rng: np.random.Generator, part: str) -> list[tuple[int, str, int]]:
        return [(self.number, part, int(prompt)) for prompt in rng.permutation(min(self.size, 200))[:count]]


def rows_of(items: Sequence[Any], scores: Sequence[float]) -> Rows:
    names = [str(item) for item in items]
    return Rows(items, scores, names, names, ["1"] * len(items), [f"{score:g}" for score in scores])


def chance(rates: Sequence[float], seed: int = 0) -> Callable[[Sequence[Any]], Rows]:
    """Right at a slice's rate, each prompt always the same."""

    def measure(items: Sequence[Any]) -> Rows:
        luck = [
            np.random.default_rng([seed, number, part == "search", prompt]).random()
            for number, part, prompt in items
        ]
        return rows_of(
            items,
            [float(one < rates[number]) for one, (number, _, _) in zip(luck, items, strict=True)],
        )

    return measure


def some_fail(count: int, failing: int, bad: float, good: float, seed: int) -> list[float]:
    """The rates of slices of which some, at random, fail."""
    rates = np.full(count, good)
    rates[np.random.default_rng(seed).choice(count, failing, replace=False)] = bad
    return rates.tolist()


def searched(claim: Claim, rates: Sequence[float], seed: int = 0, **options: Any) -> Falsification:
    slices = [One(number) for number in range(len(rates))]
    return falsify(claim, chance(rates, seed), slices, seed=seed, **options)


@pytest.fixture
def everywhere(a_claim) -> Claim:
    return a_claim(threshold=0.5, failing_share=SHARE)


def test_every_slice_is_measured(everywhere):
    """All 72 slices are measured, none fails, and the bound on those that may is below the share declared."""
    found = searched(everywhere, [0.98] * 72, budget=60, passes=4, fresh=64)
    strata = found.measurement("rate", majority=np.zeros(len(found.rows.items))).strata
    assert (strata.declared, strata.measured, strata.failed, strata.untestable) == (72, 72, 0, ())
    assert strata.upper <= SHARE
    assert len(found.searched) == 72
    assert "72 of 72 slices measured, 0 failed, at most" in str(found)


@pytest.mark.parametrize("failing", slow_except([1, 4, 7, 14, 36], 1, 7))
def test_slices_that_fail_are_found(everywhere, failing):
    """However few fail completely, one of them is confirmed, all are counted, and the bound is not below them."""
    for seed in range(3):
        rates = some_fail(72, failing, 0.0, 1.0, seed)
        found = searched(everywhere, rates, seed, budget=60, passes=4, fresh=64)
        assert found.failed == One(rates.index(0.0))
        strata = found.coverage.strata
        assert strata.failed == failing
        assert failing / 72 <= strata.upper
        if failing <= 14:  # where more fail, the search ends before it is sure of all that pass
            assert strata.upper <= failing / 72 + 0.1


@pytest.mark.parametrize("budget", slow_except([20, 60], 20))
def test_the_bound_is_rarely_too_low(everywhere, budget):
    """With one slice more at the threshold, the worst case, than may fail, the bound is seldom below what it is.

    The smaller budget reaches a part of the slices only, drawn at random.
    """
    draws, low = 20, 0
    for seed in range(draws):
        rates = some_fail(72, 4, 0.4999, 1.0, seed)
        strata = searched(everywhere, rates, seed, budget=budget, passes=4, fresh=64).coverage.strata
        low += strata.upper < 4 / 72
        assert (strata.measured < 72) == (budget == 20)
    print(f"budget {budget}: the bound is too low in {low} of {draws}, {exact(low, draws)}")
    assert exact(low, draws).low <= everywhere.alpha


@pytest.mark.parametrize(
    ("failing", "rate", "outcome"),
    [
        (0, 1.0, "supported"),
        (1, 0.0, "refuted"),
        pytest.param(7, 0.0, "refuted", marks=pytest.mark.slow),
        (7, 0.4999, "inconclusive"),
    ],
)
def test_the_verdict_on_everywhere(everywhere, failing, rate, outcome):
    """A claim is supported where it holds in every slice, and never where a tenth of them fails, by however little."""
    for seed in range(3):
        rates = some_fail(72, failing, rate, 1.0, seed)
        found = searched(everywhere, rates, seed, budget=56, passes=4, fresh=64)
        verdict = judge(everywhere, found.measurement("rate", majority=np.zeros(len(found.rows.items))))
        assert verdict.outcome == outcome or (outcome == "inconclusive" and verdict.outcome == "refuted")


def test_a_budget_too_small_is_told_with_what_would_do(everywhere):
    """Where the budget does not reach all, the rest counts as unknown, and the budget that does is said and does."""
    small = searched(everywhere, [1.0] * 72, budget=20, passes=4, fresh=64)
    strata = small.coverage.strata
    assert small.cut
    assert 0 < strata.measured < 72
    assert strata.upper > 0.05
    needed = small.coverage.budget_for_all
    unreached = 72 - strata.measured
    assert f"{unreached} not reached, a budget of {needed} reaches all" in str(small)
    enough, less = (
        searched(everywhere, [1.0] * 72, budget=budget, passes=4, fresh=64).coverage.strata.measured
        for budget in (needed, needed - 4)
    )
    assert enough == 72 > less


@pytest.mark.slow
def test_a_part_of_the_slices_is_drawn_at_random(everywhere):
    """What a small budget reaches is not the simplest first: over seeds each slice has its turn."""
    reached: Counter[str] = Counter()
    for seed in range(40):
        found = searched(everywhere, [1.0] * 72, seed, budget=16, passes=4, fresh=64)
        reached.update(found.searched)
    assert len(reached) == 72
    assert max(reached.values()) < 25


def test_more_prompts_go_to_what_is_near_failing(everywhere):
    """A slice at .6 gets the 64 prompts that a search may spend on one, those that are told at once far fewer."""
    prompts: Counter[int] = Counter()
    measure = chance([1.0] * 30 + [0.6] + [1.0] * 30)

    def counted(items):
        prompts.update(number for number, part, _ in items if part == "search")
        return measure(items)

    falsify(everywhere, counted, [One(number) for number in range(61)], seed=0, budget=30)
    assert prompts[30] == 64
    assert np.median(list(prompts.values())) <= 16


def test_a_slice_that_cannot_be_told_says_so(everywhere):
    """A slice at the threshold is measured and stands among those not told; it is neither failed nor held."""
    found = searched(everywhere, [1.0] * 20 + [0.5] + [1.0] * 19, budget=40)
    assert found.coverage.not_told == (str(One(20)),)
    assert found.coverage.strata.upper >= 1 / 40
    assert "undecided by themselves: 1" in str(found)


def test_a_small_slice_is_measured_whole(a_claim):
    """A slice of 2 x 5 prompts that do not tell is measured to the last of them, and then it is known."""
    claim = a_claim(threshold=0.9)
    slices = [One(0, size=5), *(One(number) for number in range(1, 10))]
    asked = Counter()

    def measure(items):
        asked.update(item for item in items if item[0] == 0)
        return rows_of(items, [1.0] * len(items))

    found = falsify(claim, measure, slices, seed=0, budget=30)
    assert set(asked.values()) == {1}
    assert len(asked) == 10
    assert found.coverage.whole == (str(slices[0]),)
    assert found.coverage.strata.untestable == ()
    assert found.where != slices[0]


def test_a_small_slice_that_fails_is_a_counterexample(a_claim):
    """Four right of ten, and there are ten: it fails, without prompts to confirm it on, and counts as failed."""
    claim = a_claim(threshold=0.7)
    slices = [One(number) for number in range(9)] + [One(9, size=5)]

    def measure(items):
        wrong = {(9, "search", prompt) for prompt in range(5)} | {(9, "confirm", 0)}
        return rows_of(items, [float(item not in wrong) for item in items])

    found = falsify(claim, measure, slices, seed=0, budget=30)
    assert found.failed == slices[9]
    assert found.counterexample.score == 0.4
    assert found.coverage.failed == (str(slices[9]),)
    assert found.coverage.strata.upper == 0.1


def test_what_does_not_apply_is_listed(everywhere):
    """A slice of whose prompts the claim says nothing is untestable by name, unmeasured, and may fail."""

    def measure(items):
        kept = [item for item in items if item[0] != 3]
        return rows_of(kept, [1.0] * len(kept))

    found = falsify(everywhere, measure, [One(number) for number in range(30)], seed=0, budget=30)
    strata = found.coverage.strata
    assert (strata.measured, strata.untestable) == (29, (str(One(3)),))
    assert strata.upper == pytest.approx(1 / 30)
    assert f"no measurement of: '{One(3)}'" in str(found)
    with pytest.raises(ClaimError, match="none of the 2 slices has 2 independent groups that it applies to"):
        falsify(everywhere, lambda _: rows_of([], []), [One(0), One(1)], seed=0)


def test_prompts_of_one_group_are_one_piece_of_evidence(a_claim):
    """Ten prompts of one family tell no more than one, whether they come together or one after the other."""
    claim = a_claim(threshold=0.5)

    def measure(items):
        rows = rows_of(items, [1.0] * len(items))
        return Rows(rows.items, rows.scores, [f"{item[2] % 3}" for item in items], *[rows.prompts] * 3)

    found = falsify(claim, measure, [One(number) for number in range(4)], seed=0, budget=30)
    assert len(found.coverage.not_told) == 4
    three = log_mean(log_evidence(claim, [1.0] * 3, 0.0)[0])
    assert np.exp(three) < 20


@pytest.mark.parametrize(
    ("kind", "threshold", "meets", "misses"),
    [
        ("absence", 0.1, [0.0] * 60, [0.5] * 30),
        ("invariance", 0.1, [0.0] * 60, [-0.6] * 30),
        ("invariance", 0.1, [0.0] * 60, [0.6] * 30),
        ("decodability", 0.9, [1.0] * 60, [0.3] * 30),
    ],
)
def test_evidence_for_every_kind(a_claim, kind, threshold, meets, misses):
    """What a claim's kind calls meeting the threshold is what the bets are won on, and the reverse on failing."""
    claim = a_claim(kind=kind, threshold=threshold)
    low = -1.0 if kind == "invariance" else 0.0
    for scores, won in ((meets, 0), (misses, 1)):
        evidence = [log_mean(each) for each in log_evidence(claim, scores, low)]
        assert evidence[won] > np.log(20)
        assert evidence[1 - won] < 0


def test_scores_below_zero_widen_the_range(a_claim):
    """Scores that can be negative are bet on in [-1, 1], where as many tell less."""
    claim = a_claim(threshold=0.5)

    def measure(items):
        return rows_of(items, [-1.0 if item[0] == 0 and item[2] % 2 else 1.0 for item in items])

    found = falsify(claim, measure, [One(number) for number in range(4)], seed=0, budget=8)
    plain = searched(claim, [1.0] * 4, budget=8)
    assert len(found.searched) == len(plain.searched) == 4
    assert found.coverage.strata.upper > 0


def test_the_same_seed_is_the_same_search(everywhere):
    first, second = (searched(everywhere, [0.9] * 30, 5, budget=20) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(("budget", "passes"), [(5, 1), (9, 1), (30, 1), (31, 3), (60, 4)])
@pytest.mark.parametrize("rate", slow_except([0.0, 0.5, 0.9, 1.0], 0.5, 1.0))
def test_the_budget_is_never_exceeded(everywhere, rate, budget, passes):
    """All passes together send no more batches than the budget, and each prompt once."""
    sent, prompts = [], Counter()
    measure = chance([rate] * 40)

    def counted(items):
        sent.append(-(-len(items) // 64) * passes)
        prompts.update(items)
        return measure(items)

    slices = [One(number, size=20) for number in range(40)]
    found = falsify(everywhere, counted, slices, seed=0, budget=budget, passes=passes)
    assert sum(sent) == found.forwards <= budget
    assert set(prompts.values()) == {1}


def test_given_examples_are_tried_first(everywhere):
    """A given slice that fails is the candidate, and every other is measured all the same."""
    rates = [1.0] * 20
    rates[3] = rates[8] = 0.0
    found = searched(everywhere, rates, budget=30, examples=[One(8)])
    assert found.failed == One(8)
    assert found.coverage.strata.measured == 20
    assert found.coverage.strata.failed == 2


def test_one_slice_is_not_everywhere(everywhere):
    """One slice, none, or one that is given twice is refused by name."""
    with pytest.raises(ClaimError, match=r"there is one slice, One\(number=0, .*: give two or more"):
        searched(everywhere, [1.0])
    with pytest.raises(ClaimError, match="there is no slice: give two or more"):
        searched(everywhere, [])
    with pytest.raises(ClaimError, match=r"the slice One\(number=1.* is given 2 times: give each once"):
        falsify(everywhere, chance([1.0] * 2), [One(0), One(1), One(1)], seed=0)


def test_rows_of_other_items_are_refused(everywhere):
    """Rows that are not of the prompts asked cannot be laid to a slice."""
    with pytest.raises(ClaimError, match=r"`measure` gives back 'other', which it was not given"):
        falsify(everywhere, lambda _: rows_of(["other"], [1.0]), [One(0), One(1)], seed=0)


ALL_PAIRS = list(permutations(("multiply", "add", "subtract", "divide"), 2))


def pair_of(questions: Any) -> PairSlice:
    source, target = questions
    digits = tuple(sorted(len(str(number)) for number in (source.fact.a, source.fact.b)))
    return PairSlice(source.fact.operation, target.fact.operation, source.phrasing, digits)


def transferred(bad: set[PairSlice], drawn: Sequence[Any]) -> Rows:
    scores = [0.0 if pair_of(questions) in bad else 1.0 for questions in drawn]
    families, texts = [source.family for source, _ in drawn], [target.text for _, target in drawn]
    return Rows(drawn, scores, families, texts, [""] * len(drawn), [""] * len(drawn))


def test_every_pair_of_operations_can_be_told(everywhere):
    """Of the 72 slices, twelve of which have six to twelve families in a half, each is told; 3 that fail are found."""
    for failing in (0, 3):
        order = np.random.default_rng(failing).permutation(72)
        bad = {pair_slices()[place] for place in order[:failing]}
        found = falsify(
            everywhere, partial(transferred, bad), pair_slices(), seed=0, budget=60, passes=4, fresh=64
        )
        assert found.coverage.strata.measured == 72
        assert found.coverage.not_told == found.coverage.strata.untestable == ()
        assert set(found.coverage.failed) == {str(where) for where in bad}
        assert (found.failed is None) == (not bad)
    small = [PairSlice(*pair, "compact", DIGITS[0]) for pair in ALL_PAIRS if "divide" in pair]
    assert all(str(where) in found.searched for where in small)


def test_no_more_is_sent_once_too_many_fail(a_claim):
    """Where most slices fail, a few prompts of each and a confirmation are all that is spent, and it is refuted."""
    bad, everywhere = set(pair_slices()[8:]), a_claim(threshold=0.9, failing_share=SHARE)
    search = partial(
        falsify, everywhere, partial(transferred, bad), pair_slices(), seed=0, budget=60, passes=4
    )
    result = search(fresh=64)
    assert result.forwards <= 60 / 2
    assert result.coverage.strata.measured == 72
    assert result.coverage.strata.failed > 0.05 * 72
    assert result.failed in bad
    verdict = judge(everywhere, result.measurement("rate", majority=[0.0] * len(result.rows.items)))
    assert verdict.outcome is Outcome.REFUTED


def test_a_small_simplest_slice_leaves_nothing_untold(a_claim):
    """Where all slices fail, one with fresh groups enough is confirmed, though the simplest has too few of them."""
    claim = a_claim(threshold=0.9, failing_share=SHARE, minimum_groups=30)
    slices = [One(0, size=12), *(One(number) for number in range(1, 40))]
    found = falsify(claim, lambda items: rows_of(items, [0.0] * len(items)), slices, seed=0, budget=30)
    assert found.failed == slices[1]
    verdict = judge(claim, found.measurement("rate", majority=[0.0] * len(found.rows.items)))
    assert verdict.outcome is Outcome.REFUTED


def test_a_simplest_slice_of_few_groups_leaves_nothing_untold(a_claim):
    """That its fresh prompts are of few groups shows when they are measured: then a larger slice is confirmed too."""
    claim = a_claim(threshold=0.9, failing_share=SHARE, minimum_groups=30)
    slices = [One(0, size=40), *(One(number) for number in range(1, 40))]

    def measure(items):
        names = [str(item) for item in items]
        groups = [f"0 {prompt // 4}" if not number else f"{number} {prompt}" for number, _, prompt in items]
        return Rows(items, [0.0] * len(items), groups, names, ["1"] * len(items), ["0"] * len(items))

    found = falsify(claim, measure, slices, seed=0, budget=30)
    assert found.failed == slices[1]
    assert found.rows.groups >= 30
