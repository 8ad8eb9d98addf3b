"""The interval of a mean at every look: by simulation, and against the wealth of the bets computed anew."""

from __future__ import annotations

from math import log

import numpy as np
import pytest

from lazarus_probe.statistics.betting import log_mean, log_wealth
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.sequential.mean_sequence import GRID, MeanSequence


def streams(kind: str, rng: np.random.Generator, n: int) -> tuple[np.ndarray, float]:
    """Scores of a world, and their true mean."""
    worlds = {
        "fair coin": lambda: ((rng.random(n) < 0.5).astype(float), 0.5),
        "rare": lambda: ((rng.random(n) < 0.05).astype(float), 0.05),
        "skewed": lambda: (rng.beta(0.2, 1.8, n), 0.1),
        "uniform": lambda: (rng.random(n), 0.5),
    }
    return worlds[kind]()


def leaves(kind: str, count: int, n: int, seed: int = 0) -> int:
    """In how many of so many streams the true mean is outside the interval at any of n looks."""
    rng, missed = np.random.default_rng(seed), 0
    for _ in range(count):
        scores, mean = streams(kind, rng, n)
        sequence = MeanSequence()
        for score in scores:
            sequence.add(float(score))
        missed += not sequence.low <= mean <= sequence.high  # ends never come back
    return missed


@pytest.mark.parametrize("kind", ["fair coin", "skewed"])
def test_a_sequence_holds_at_every_look(kind):
    """In at most a twentieth of streams the interval leaves the true mean at any of 60 looks."""
    assert exact(leaves(kind, 40, 60), 40).low <= 0.05


@pytest.mark.long
@pytest.mark.parametrize("kind", ["fair coin", "rare", "skewed", "uniform"])
def test_a_sequence_holds_in_a_thousand_streams(kind):
    """Of a thousand streams looked at after every one of 200 scores at most a twentieth is ever wrong."""
    missed = leaves(kind, 1000, 200)
    print(f"{kind}: {missed} of 1000 {exact(missed, 1000)}")
    assert missed <= 50


def test_a_sequence_is_that_of_the_wealth():
    """Its ends are where the wealth of the bets, computed anew from all scores, reaches 2/alpha."""
    rng = np.random.default_rng(1)
    scores = rng.beta(4, 2, 40)
    sequence = MeanSequence()
    below, above = 0.0, 1.0
    for count, score in enumerate(scores, 1):
        sequence.add(float(score))
        for mean in np.linspace(0, 1, GRID + 2)[1:-1]:
            if log_mean(log_wealth(scores[:count], mean)) >= log(40):
                below = max(below, mean)
            if log_mean(log_wealth(1 - scores[:count], mean)) >= log(40):
                above = min(above, 1 - mean)
    assert sequence.low == pytest.approx(below, abs=1e-12)
    assert sequence.high == pytest.approx(above, abs=1e-12)


def test_a_sequence_has_the_range_of_its_scores():
    """Of scores from -1 to 1 the ends are those of their shares of the range; others are refused."""
    shares, scores = MeanSequence(), MeanSequence(-1, 1)
    for share in (0.9, 0.8, 1.0) * 10:
        shares.add(share)
        scores.add(2 * share - 1)
    assert (scores.low, scores.high) == pytest.approx((2 * shares.low - 1, 2 * shares.high - 1))
    with pytest.raises(ValueError, match=r"the score is 1.5: give one from -1 to 1"):
        scores.add(1.5)
    with pytest.raises(ValueError, match="the score is nan"):
        scores.add(float("nan"))
    with pytest.raises(ValueError, match="the range is 1 to 1"):
        MeanSequence(1, 1)
