from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.claims.claim import ClaimError
from lazarus_probe.claims.pooling import pool
from lazarus_probe.claims.seed_runs import SeedRun, judge_pooled
from lazarus_probe.claims.verdict import Outcome, Verdict, judge
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement import (
    Control,
    Counterexample,
    Curve,
    Damage,
    Example,
    Grid,
    Growth,
    Part,
    Strata,
)


def control(name: str, gain: float) -> Control:
    return Control(name, 0.9 - gain, gain, gain - 0.02, gain + 0.04)


def test_scores_and_ends_are_means(measured):
    """Score, interval and each control are the means of the seeds', taken by hand."""
    pooled = pool(
        {
            0: measured(0.9, low=0.8, high=0.95, controls=(control("a", 0.5), control("b", 0.3))),
            4: measured(0.6, low=0.5, high=0.65, controls=(control("b", 0.1), control("a", 0.1))),
        }
    )
    assert (pooled.score, pooled.low, pooled.high) == pytest.approx((0.75, 0.65, 0.8))
    assert [each.name for each in pooled.controls] == ["a", "b"]
    a, b = pooled.controls
    assert (a.score, a.gain, a.low, a.high) == pytest.approx((0.6, 0.3, 0.28, 0.34))
    assert (b.score, b.gain, b.low, b.high) == pytest.approx((0.7, 0.2, 0.18, 0.24))


def test_counts_claim_no_more_groups_than_one_seed(measured):
    """Prompts and tokens add up; groups and units are the least of the seeds'."""
    pooled = pool(
        {
            0: measured(0.9, n=100, tokens=300, units={"phrasing": 20, "family": 40}),
            1: measured(0.9, n=80, tokens=310, groups=22, units={"phrasing": 24, "family": 22}),
        }
    )
    assert (pooled.n, pooled.tokens, pooled.groups) == (180, 610, 20)
    assert pooled.units == {"phrasing": 20, "family": 22}
    assert pool({0: measured(0.9, tokens=300), 1: measured(0.9)}).tokens is None


@pytest.mark.parametrize(
    ("values", "pooled"),
    [
        ([0.01, 0.03], 0.04),
        ([0.4, 0.9], 1.0),
        ([None, None], None),
        ([0.001, None], 1.0),
        ([0.001, 0.001, 0.001, 0.001, 0.001], 0.002),
    ],
)
def test_p_is_twice_the_mean(measured, values, pooled):
    """P is twice the mean and at most 1, and a seed that gave none beside others counts as 1."""
    found = pool({seed: measured(0.9, p=p) for seed, p in enumerate(values)})
    assert found.p == (pooled if pooled is None else pytest.approx(pooled))


@pytest.mark.parametrize("dependence", ["equal", "independent", "opposed"])
def test_pooled_p_is_a_p(dependence):
    """Where nothing is there, twice the mean is at most alpha in at most that share of draws, however dependent."""
    rng = np.random.default_rng(0)
    draws = rng.random((20_000, 2))
    if dependence == "equal":
        draws[:, 1] = draws[:, 0]
    if dependence == "opposed":  # the mean of two p that sum to alpha wherever one is below: the worst case
        draws[:, 1] = np.where(draws[:, 0] < 0.05, 0.05 - draws[:, 0], draws[:, 0])
    rate = np.mean(np.minimum(1, 2 * draws.mean(axis=1)) <= 0.05)
    assert exact(int(rate * len(draws)), len(draws)).low <= 0.05
    if dependence == "opposed":
        assert rate > 0.04  # no smaller factor than 2 would do


@pytest.mark.parametrize("shared", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("draw", ["normal", "skewed"])
def test_the_mean_interval_covers(shared, draw):
    """With five seeds whose errors share none, half or all of their variance the mean interval holds the truth."""
    from scipy.stats import t

    rng, repeats, seeds, groups = np.random.default_rng(1), 2000, 5, 20

    def errors(*shape):
        if draw == "normal":
            return rng.normal(size=shape)
        return rng.gamma(4, size=shape) / 2 - 2  # variance 1, skewness 1

    rows = np.sqrt(shared) * errors(repeats, 1, groups) + np.sqrt(1 - shared) * errors(repeats, seeds, groups)
    score = rows.mean(axis=2)
    reach = t.ppf(0.975, groups - 1) * rows.std(axis=2, ddof=1) / np.sqrt(groups)
    ends = [np.mean(score - reach, axis=1), np.mean(score + reach, axis=1)]
    alone = np.mean((score[:, 0] - reach[:, 0] <= 0) & (score[:, 0] + reach[:, 0] >= 0))
    covered = int(np.sum((ends[0] <= 0) & (ends[1] >= 0)))
    assert covered / repeats >= min(alone, 0.95) - 0.01
    assert np.mean(ends[1] - ends[0]) == pytest.approx(2 * reach.mean())


def test_one_seed_stays_as_it_is(measured):
    """The pool of one measurement is that measurement."""
    found = measured(0.9, p=0.3)
    assert pool({7: found}) is found


def test_curves_and_grids_are_averaged_where_they_agree(measured):
    """Along the same places the mean is kept, and else what the first seed found."""
    curves = [Curve("score", (0, 1), y, low=y, high=y) for y in ((0.2, 0.4), (0.4, 0.8))]
    grids = [Grid("g", ("L0",), ("a", "b"), (values,)) for values in ((0.0, 1.0), (1.0, 0.0))]
    first, second = (measured(0.9, curves=(c,), grids=(g,)) for c, g in zip(curves, grids, strict=True))
    pooled = pool({0: first, 1: second})
    assert pooled.curves[0].y == pooled.curves[0].low == pytest.approx((0.3, 0.6))
    assert pooled.grids[0].values == ((0.5, 0.5),)
    elsewhere = replace(
        second, curves=(replace(curves[1], x=(0, 2)),), grids=(replace(grids[1], columns=("a", "c")),)
    )
    pooled = pool({0: first, 1: elsewhere})
    assert (pooled.curves, pooled.grids) == (first.curves, first.grids)


def test_details_that_differ_are_kept_by_seed(measured):
    """What all seeds agree on stays as it is, and what they do not says which seed found what."""
    found = [
        {"site": "embed", "layer": 2, "rows": np.array([1, 2])},
        {"site": "embed", "layer": 3, "rows": [1, 2]},
    ]
    pooled = pool({seed: measured(0.9, details=details) for seed, details in enumerate(found)})
    assert pooled.details == {"site": "embed", "layer": {"seed 0": 2, "seed 1": 3}, "rows": [1, 2]}
    assert pool({0: measured(0.9), 1: measured(0.9, details={"x": 1})}).details == {"x": {"seed 1": 1}}


def test_counterexamples_of_all_seeds_stand(measured):
    """A counterexample that one seed confirmed is not lost to the others, and one found twice stands once."""
    first, second = (
        Counterexample(where, (Example("p", "1", "2", False),), 0.1, 0.0, 0.3, 20) for where in ("a", "b")
    )
    pooled = pool(
        {0: measured(0.9, counterexamples=(first,)), 1: measured(0.9, counterexamples=(first, second))}
    )
    assert pooled.counterexamples == (first, second)


def test_learning_curve_damage_and_strata(measured):
    """Learning curve and damage are means, strata those of the seed that leaves most in doubt."""
    strata = [Strata(72, 60, 0, 0.05), Strata(72, 20, 1, 0.3), Strata(72, 72, 4, 0.06)]
    pooled = pool(
        {
            seed: measured(
                0.9,
                growth=Growth(0.8, gain, gain - 0.02, gain + 0.02, 0.95),
                damage=Damage("answers lost", gain, gain - 0.01, gain + 0.01, 40),
                strata=strata[seed],
            )
            for seed, gain in enumerate((0.0, 0.1, 0.2))
        }
    )
    assert (pooled.growth.gain, pooled.growth.high) == pytest.approx((0.1, 0.12))
    assert (pooled.damage.score, pooled.damage.n) == pytest.approx((0.1, 120))
    assert pooled.strata == strata[1]


def test_each_seed_may_have_searched_elsewhere(measured):
    """A search of another seed ends elsewhere: the pool says so, and where all ended alike it says where."""
    assert pool({0: measured(0.9, place="sums"), 1: measured(0.9, place="sums")}).place == "sums"
    pooled = pool({0: measured(0.9, place="sums"), 3: measured(0.9, place="products")})
    assert pooled.place == "sums with seed 0, elsewhere with others"


def test_a_pool_has_no_curve_where_a_seed_has_none(measured):
    """One seed whose learning curve cannot be had leaves the pool without one, and the reason stays."""
    reason = "no half of the training groups holds every class: add groups"
    curves = [Growth(0.8, 0.1, 0.0, 0.2, 0.95), reason, Growth(0.8, 0.1, 0.0, 0.2, 0.95)]
    assert pool({seed: measured(0.9, growth=curve) for seed, curve in enumerate(curves)}).growth == reason


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"unit": "R2"}, "seed 0 measured 'accuracy' and seed 3 'R2': only one unit can be pooled"),
        (
            {"controls": (control("a", 0.5),)},
            "control 'majority' was not measured with seed 3: every seed must",
        ),
        (
            {"units": {"family": 20}},
            "the number of units 'family' was not measured with seed 0: every seed must",
        ),
        (
            {"growth": Growth(0.8, 0.1, 0.0, 0.2, 0.95)},
            "the learning curve was not measured with seed 0: every seed must",
        ),
        ({"strata": Strata(72, 60, 0, 0.05)}, "strata was not measured with seed 0: every seed must"),
        (
            {"damage": Damage("lost", 0.1, 0.0, 0.2, 40)},
            "the damage was not measured with seed 0: every seed must",
        ),
    ],
)
def test_seeds_that_measured_different_things_are_refused(a_claim, measured, changes, message):
    """What one seed lacks, or counts otherwise, is named with that seed, and in a verdict with the claim."""
    found = {0: measured(0.9), 3: measured(0.9, **changes)}
    with pytest.raises(ValueError, match=message):
        pool(found, ["majority"])
    runs = [SeedRun(seed, judge(a_claim(), measured(0.9)), each) for seed, each in found.items()]
    with pytest.raises(ClaimError, match=f"claim 'c': {message}"):
        judge_pooled(a_claim(), runs)


def test_damage_in_other_units_is_refused(measured):
    """Damage of two kinds has no mean."""
    first, second = (measured(0.9, damage=Damage(unit, 0.1, 0.0, 0.2, 40)) for unit in ("lost", "KL"))
    with pytest.raises(ValueError, match="the damage was measured as 'lost' and as 'KL'"):
        pool({0: first, 1: second})
    with pytest.raises(ValueError, match="no seed gave a measurement"):
        pool({})


def test_no_majority_of_seeds_makes_a_verdict(a_claim, measured):
    """The pool is judged by its own interval: four seeds that are each supported do not outvote one far below."""
    claim = a_claim()
    found = {seed: measured(score) for seed, score in enumerate((0.93, 0.93, 0.93, 0.93, 0.4))}
    judged = judge_pooled(claim, [SeedRun(seed, judge(claim, each), each) for seed, each in found.items()])
    assert [str(run.verdict.outcome) for run in judged.seeds] == [*["supported"] * 4, "refuted"]
    assert judged.verdict == judge(claim, pool(found))
    assert judged.verdict.outcome == Outcome.REFUTED


def test_a_counterexample_of_one_seed_outweighs_the_mean(a_claim, measured):
    """A pool that would be supported is inconclusive where one seed confirmed that the claim fails somewhere."""
    claim, fails = a_claim(), Counterexample("sums of 10", (), 0.87, 0.8, 0.89, 40)
    found = {seed: measured(0.96) for seed in range(4)}
    assert judge(claim, pool(found)).outcome == Outcome.SUPPORTED
    found[7] = measured(0.87, counterexamples=(fails,))
    assert judge(claim, pool(found)).outcome == Outcome.SUPPORTED  # the mean alone
    verdict = judge_pooled(
        claim, [SeedRun(seed, judge(claim, each), each) for seed, each in found.items()]
    ).verdict
    assert verdict.outcome == Outcome.INCONCLUSIVE
    assert verdict.reason.startswith("1 of 5 seeds found where it fails, seed 7 on sums of 10; all pooled: ")


def test_requirements_of_all_seeds_are_kept_once(a_claim, measured):
    """What held with every seed stands once, and what differs stands as often as it was said."""
    found = measured(0.95)
    runs = [
        SeedRun(seed, judge(a_claim(), found), found, ("has experts", f"answers 0.9{seed}"))
        for seed in range(2)
    ]
    assert judge_pooled(a_claim(), runs).requirements == ("has experts", "answers 0.90", "answers 0.91")


@pytest.mark.parametrize(
    ("moot", "outcome"), [(1, Outcome.SUPPORTED), (2, Outcome.SUPPORTED), (3, Outcome.NOT_APPLICABLE)]
)
def test_a_claim_applies_to_at_least_half(a_claim, measured, moot, outcome):
    """Of four seeds two may find the claim not applicable; with three it is not, and they are named."""
    found = measured(0.95)
    verdict = Verdict(Outcome.NOT_APPLICABLE, "no experts")
    runs = [SeedRun(seed, verdict) for seed in range(moot)]
    runs += [SeedRun(seed, judge(a_claim(), found), found) for seed in range(moot, 4)]
    judged = judge_pooled(a_claim(), runs)
    assert judged.verdict.outcome == outcome
    if moot == 3:
        assert judged.verdict.reason == "with 3 of 4 seeds: no experts (seeds 0, 1, 2)"


def test_parts_are_averaged_over_seeds(measured):
    """As the score is; a seed without one of them is refused."""
    first, second = (
        measured(0.9, parts=(Part("minimality", score, score - 0.1, score + 0.1, 30),))
        for score in (0.5, 0.7)
    )
    (part,) = pool({0: first, 1: second}).parts
    assert (part.score, part.low, part.high, part.n) == pytest.approx((0.6, 0.5, 0.7, 60))
    with pytest.raises(ValueError, match="part 'minimality' was not measured with seed 1"):
        pool({0: first, 1: measured(0.9)})
