"""Bets on the mean of a bounded score: against a naive gambler, by simulation at the edge, and against counting."""

from __future__ import annotations

from itertools import combinations
from math import comb, exp, inf, log

import numpy as np
import pytest

from lazarus_probe.statistics.betting import (
    CASH,
    STAKES,
    STRATEGIES,
    log_mean,
    log_wealth,
    most_failing,
    most_of_all,
)
from lazarus_probe.statistics.intervals import exact


def naive_wealth(scores, least):
    """One gambler a strategy, one score after the other, in plain money."""
    purses = []
    for cash in CASH:
        for stake in STAKES:
            purse = 1.0
            for score in scores:
                purse *= 1 + stake / least * (score - least)
            purses.append(cash + (1 - cash) * purse)
    return purses


@pytest.mark.parametrize("least", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("scores", [[], [1.0] * 9, [0.0] * 9, [1, 0, 1, 1, 0.5, 0.25], [1.0] * 20 + [0.0]])
def test_wealth_is_that_of_the_naive_gamblers(scores, least):
    purses = naive_wealth(scores, least)
    assert np.exp(log_wealth(scores, least)) == pytest.approx(purses)
    assert exp(log_mean(log_wealth(scores, least))) == pytest.approx(np.mean(purses))


def test_the_cash_is_never_lost():
    assert np.exp(log_wealth([0.0] * 5000, 0.5)) == pytest.approx(np.repeat(CASH, len(STAKES)))
    assert log_mean(log_wealth([1.0] * 5000, 0.5)) > 3000  # and no overflow at the other end


def test_edges_of_the_range():
    """Nothing shows a mean above 1, and any score above 0 shows one above 0."""
    assert set(log_wealth([1.0, 1.0], 1.0)) == {0}
    assert set(log_wealth([0.0, 0.0], 0.0)) == {0}
    assert set(log_wealth([0.0, 0.1], 0.0)) == {inf}


@pytest.mark.parametrize(
    ("scores", "least", "words"),
    [
        ([0.5], 1.5, "least is 1.5: give a mean in"),
        ([-0.5], 0.5, "scores lie outside"),
        ([np.nan], 0.5, "lie"),
    ],
)
def test_what_cannot_be_bet_on_is_refused(scores, least, words):
    with pytest.raises(ValueError, match=words):
        log_wealth(scores, least)


@pytest.mark.parametrize("least", [0.2, 0.5, 0.9])
@pytest.mark.parametrize("shape", ["coin", "beta", "rare"])
def test_looking_after_each_score_is_allowed(least, shape):
    """With the mean exactly at the value, the worst case, at most alpha of 200 gamblers ever reach 1/alpha."""
    rng, draws, won = np.random.default_rng(0), 200, 0
    for _ in range(draws):
        scores = {
            "coin": lambda: (rng.random(40) < least).astype(float),
            "beta": lambda: rng.beta(0.3 * least, 0.3 * (1 - least), 40),
            "rare": lambda: np.where(rng.random(40) < 0.8, least * 0.5, least * 3).clip(0, 1),
        }[shape]()
        if shape == "rare":  # a mixture of two values; clipping only lowers its mean
            assert 0.8 * least * 0.5 + 0.2 * min(1, least * 3) <= least + 1e-12
        won += any(log_mean(log_wealth(scores[:stop], least)) >= log(20) for stop in range(2, 41, 2))
    assert exact(won, draws).low <= 0.05
    print(f"{shape} at {least}: {won} of {draws}, {exact(won, draws)}")


def test_a_bet_that_is_right_is_won():
    """Seven of seven at a half, or forty of forty at nine tenths, tell a stratum by themselves."""
    assert log_mean(log_wealth([1.0] * 7, 0.5)) >= log(20)
    assert log_mean(log_wealth([1.0] * 40, 0.9)) >= log(20)
    assert log_mean(log_wealth([1.0] * 20, 0.9)) < log(20)


def test_the_bound_is_that_of_all_subsets():
    """Closed testing by brute force: no set of strata that is larger than the bound has a product below 1/alpha."""
    rng = np.random.default_rng(0)
    bounds = set()
    for _ in range(40):
        evidence = [log_wealth(rng.random(rng.integers(1, 12)) < 0.9, 0.5) for _ in range(6)]
        possible = [
            size
            for size in range(1, 7)
            if any(log_mean(np.sum(some, axis=0)) < log(20) for some in combinations(evidence, size))
        ]
        bound = most_failing(evidence, 0.05)
        assert max(possible, default=0) <= bound <= max(possible, default=0) + 1
        bounds.add(bound)
    assert len(bounds) > 2


def test_what_is_not_known_counts_as_failing():
    """A stratum without evidence is one more that may fail, beside those that are bounded."""
    told, nothing = [log_wealth([1.0] * 12, 0.5)] * 5, np.zeros(STRATEGIES)
    assert most_failing(told, 0.05) == 0
    assert most_failing([*told, nothing, nothing], 0.05) == 2
    assert most_failing([nothing] * 4, 0.05) == 4
    assert most_failing([], 0.05) == 0


def test_little_on_each_is_much_on_all():
    """Of 108 strata with ten of ten, none of which is told by itself, at most 4% fail."""
    each = log_wealth([1.0] * 10, 0.9)
    assert log_mean(each) < log(2.5)
    assert most_failing([each] * 108, 0.05) <= 5


@pytest.mark.parametrize("failing", [1, 3, 8])
def test_the_bound_covers(failing):
    """With strata exactly at the threshold, the worst case, the bound is too low in at most alpha of 300 worlds."""
    rng, draws = np.random.default_rng(failing), 300
    means = [0.5] * failing + [0.95] * 12
    low = sum(
        most_failing([log_wealth(rng.random(10) < mean, 0.5) for mean in means], 0.05) < failing
        for _ in range(draws)
    )
    print(f"{failing} fail: the bound is too low in {low} of {draws}, {exact(low, draws)}")
    assert exact(low, draws).low <= 0.05


def test_without_replacement_by_counting():
    """The bound on all is the most that would leave so few among the drawn, over every way to draw."""
    for of, measured, failing in [(12, 5, 0), (12, 5, 2), (12, 11, 1), (12, 12, 3), (12, 1, 1)]:
        likely = [
            many
            for many in range(failing, of + 1)
            if sum(
                comb(many, drawn) * comb(of - many, measured - drawn)
                for drawn in range(failing + 1)
                if measured - drawn >= 0
            )
            > 0.05 * comb(of, measured)
        ]
        expected = failing if measured == of else max(likely, default=failing)
        assert most_of_all(failing, measured, of, 0.05) == expected
    assert most_of_all(0, 40, 72, 0.05) == 3
    assert most_of_all(0, 0, 72, 0.05) == 72
