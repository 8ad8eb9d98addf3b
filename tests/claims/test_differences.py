from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.claims.baseline import compared_all
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.differences import ALPHA, corrected, difference
from lazarus_probe.reports.versions.compare import compare_runs
from lazarus_probe.reports.versions.sides import Side
from lazarus_probe.statistics.intervals import exact, wilson
from tests.cases import slow_except

COMPARISONS = 200
LINES = 40


def known(score: float, low: float, high: float) -> BaselineRecord:
    return BaselineRecord(outcome="supported", score=score, low=low, high=high, claim_hash="h")


@dataclass(frozen=True)
class World:
    """Runs of one model with itself: what each of its claims measures is the same truth, met with other prompts.

    Attributes:
        groups: of each claim.
        shared: the share of the error's variance that comes from prompts which both runs meet.
        kind: `mean` of numbers over groups with Student's interval, or `rate` of right answers with Wilson's.
    """

    groups: int
    shared: float = 0.0
    kind: str = "mean"

    def runs(self, rng: np.random.Generator) -> tuple[list[BaselineRecord], list[BaselineRecord]]:
        """Two runs, line by line."""
        truth = rng.uniform(0.1, 0.9, LINES)
        if self.kind == "rate":
            n = self.groups * 5
            draws = rng.binomial(n, np.stack([truth, truth]))
            return tuple([known(k / n, *_ends(wilson(int(k), n))) for k in run] for run in draws)
        common = np.sqrt(self.shared) * rng.normal(size=(1, LINES, self.groups))
        own = np.sqrt(1 - self.shared) * rng.normal(size=(2, LINES, self.groups))
        rows = truth[:, None] + 0.1 * (common + own)
        scores = rows.mean(axis=2)
        reach = stats.t.ppf(0.975, self.groups - 1) * rows.std(axis=2, ddof=1) / np.sqrt(self.groups)
        return tuple(
            [known(s, s - r, s + r) for s, r in zip(*run, strict=True)]
            for run in zip(scores.tolist(), reach.tolist(), strict=True)
        )


def _ends(interval) -> tuple[float, float]:
    return interval.low, interval.high


def lines(now: list[BaselineRecord], before: list[BaselineRecord]) -> list[BaselineRecord]:
    pairs = zip(now, before, strict=True)
    return [old.model_copy(update={"difference": difference(new, old)}) for new, old in pairs]


def real(compared: list[BaselineRecord]) -> list[int]:
    return [line for line, each in enumerate(compared) if each.difference.real]


WORLDS = [
    World(5),
    World(10),
    World(10, shared=0.5),
    World(60),
    World(40, kind="rate"),
]


@pytest.mark.parametrize(
    "world",
    slow_except(WORLDS, WORLDS[1], WORLDS[-1]),
    ids=lambda world: f"{world.kind}-{world.groups}-{world.shared}",
)
def test_a_model_hardly_ever_differs_from_itself(world):
    """Of 200 comparisons of 40 lines each at most 5% find any real difference, and without correction most do."""
    rng = np.random.default_rng(1)
    alone = among = 0
    for _ in range(COMPARISONS):
        compared = lines(*world.runs(rng))
        alone += bool(real(compared))
        among += bool(real(corrected(compared)))
    rate = exact(among, COMPARISONS)
    print(f"{world}: {among} of {COMPARISONS} {rate}; uncorrected {alone}")
    assert rate.low <= ALPHA
    assert among <= alone
    if world.shared == 0:
        assert exact(alone, COMPARISONS).low > 0.5


@pytest.mark.parametrize("shifted", [1, 6])
def test_a_planted_shift_is_found_and_nothing_else(shifted):
    """A shift of 0.15 in some lines, 40 groups each, is found in nearly all draws; what is found is it in 95%."""
    rng, world = np.random.default_rng(5), World(40)
    found = false = 0
    for _ in range(100):
        now, before = world.runs(rng)
        moved = [
            known(e.score + 0.15, e.low + 0.15, e.high + 0.15) if i < shifted else e
            for i, e in enumerate(now)
        ]
        lines_found = real(corrected(lines(moved, before)))
        found += sum(line < shifted for line in lines_found)
        false += sum(line >= shifted for line in lines_found)
    assert found >= 0.95 * 100 * shifted
    assert exact(false, found + false).low <= ALPHA


def test_a_line_by_itself_is_real_where_its_interval_leaves_out_0():
    """The p of one difference is .05 where the end of its interval lies on 0."""
    reach = 0.1 / 2**0.5
    at_the_end = difference(known(0.6, 0.6 - reach, 0.6 + reach), known(0.5, 0.5 - reach, 0.5 + reach))
    assert at_the_end.low == pytest.approx(0)
    assert at_the_end.p == pytest.approx(ALPHA)


def test_the_other_way_round_is_the_same_p():
    """A fall is as much as a rise, also between intervals that are not symmetric."""
    first, second = known(0.9, 0.7, 0.95), known(0.5, 0.4, 0.7)
    there, back = difference(first, second), difference(second, first)
    assert there.p == pytest.approx(back.p)
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))


def test_it_says_among_how_many():
    """A difference that does not survive says q and of how many lines, and one that was judged alone does not."""
    now, before = (
        [known(0.60, 0.54, 0.66), *[known(0.5, 0.4, 0.6)] * 9],
        [known(0.5, 0.44, 0.56)] * 10,
    )
    compared = lines(now, before)
    assert str(compared[0].difference) == "+0.10 [+0.02, +0.18]"
    among = corrected(compared)[0].difference
    assert (among.lines, among.real) == (10, False)
    assert among.q == pytest.approx(10 * among.p)
    assert str(among) == f"+0.10 [+0.02, +0.18], which may be chance (q = {among.q:.2g} of 10 compared)"


def test_lines_without_a_score_count_for_nothing():
    """What was not measured on both sides has no difference, and is not among those that are corrected over."""
    moot = BaselineRecord(outcome="not applicable", claim_hash="h")
    assert difference(moot, known(0.5, 0.4, 0.6)) is None
    moved = lines([known(0.9, 0.88, 0.92)], [known(0.5, 0.48, 0.52)])
    found = corrected([None, *moved, moot])
    assert found[0] is None
    assert found[2] is moot
    assert (found[1].difference.lines, found[1].difference.real) == (1, True)
    assert corrected([None, moot]) == [None, moot]


def test_scores_without_width_are_told_apart_without_doubt():
    """Two exact scores differ with p of 0, or not at all with p of 1."""
    assert difference(known(0.9, 0.9, 0.9), known(0.5, 0.5, 0.5)).p == 0
    assert difference(known(0.5, 0.5, 0.5), known(0.5, 0.5, 0.5)).p == 1


def units(*scores: float, margin: float = 0.2) -> BaselineRecord:
    score = float(np.mean(scores))
    groups = {f"unit {number}": (value, 5) for number, value in enumerate(scores)}
    return known(score, score - margin, score + margin).model_copy(update={"group_scores": groups})


def test_the_same_units_are_paired():
    """A difference that two independent estimates cannot tell is real where every unit moved the same way."""
    old = units(*np.linspace(0.3, 0.7, 12))
    new = units(*np.linspace(0.3, 0.7, 12) - 0.05)
    paired, alone = difference(new, old), difference(new, old.model_copy(update={"group_scores": {}}))
    assert (paired.paired, paired.real) == (True, True)
    assert (alone.paired, alone.real) == (False, False)
    assert paired.score == pytest.approx(alone.score)


def test_a_paired_difference_that_means_nothing_is_not_real():
    """A shift of .01 in every unit is surely there, and too small to count: it says so."""
    old, new = units(*np.linspace(0.3, 0.7, 12)), units(*np.linspace(0.29, 0.69, 12))
    moved = difference(new, old)
    assert (moved.p < 0.001, moved.real) == (True, False)
    assert str(moved).endswith("on the same prompts, too small to count")
    assert not corrected([old.model_copy(update={"difference": moved})])[0].difference.real


def test_units_of_other_seeds_are_not_paired():
    """Where prompts were drawn with another seed units of one name are other prompts: the scores are compared."""
    old, new = units(*np.linspace(0.3, 0.7, 12)), units(*np.linspace(0.25, 0.65, 12))
    same, other = (
        compared_all({"c": new}, {"c": old}, same_prompts=same)["c"].difference for same in (True, False)
    )
    assert (same.paired, other.paired) == (True, False)
    sides = [
        Side("s", (seed,), "", "", {"m": "f"}, {"m": {"c": record}}) for seed, record in ((0, old), (1, new))
    ]
    (line,) = compare_runs(*sides).lines
    assert not line.old.difference.paired
    (line,) = compare_runs(sides[0], replace(sides[1], seeds=(0,))).lines
    assert line.old.difference.paired


@pytest.mark.slow
def test_paired_comparisons_of_a_model_with_itself_find_nothing():
    """Of 40 comparisons of 40 lines, whose units move by chance alone, hardly any has a real difference."""
    rng = np.random.default_rng(4)
    found = 0
    for _ in range(40):
        pairs = [(units(*rng.random(24)), units(*rng.random(24))) for _ in range(LINES)]
        judged = corrected(
            [old.model_copy(update={"difference": difference(new, old)}) for new, old in pairs]
        )
        assert all(line.difference.paired for line in judged)
        found += any(line.difference.real for line in judged)
    assert exact(found, 40).low <= ALPHA
