"""A number or class that is linearly readable, from too few rows for a probe to learn it."""

from __future__ import annotations

import numpy as np
from draws import claim

from lazarus_probe.claims.verdict import Outcome, decide
from lazarus_probe.statistics.folds import Kind
from lazarus_probe.statistics.measurement import Growth, Measurement
from lazarus_probe.statistics.probes.held_out import (
    Problem,
    constant,
    gain_over,
    growth_of,
    held_out,
    interval_of,
)

ROWS, WIDTH = 60, 64
KINDS = {
    "decodability": "classification",
    "emergence": "classification",
    "decodability of a number": "regression",
}


def readable(seed: int, kind: Kind) -> Problem:
    """A direction of many that tells a class from the other, or gives a number."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(ROWS, WIDTH))
    along = features @ rng.normal(size=WIDTH) / np.sqrt(WIDTH)
    labels = along if kind == "regression" else (along > np.median(along)).astype(int)
    return Problem.of(features, labels, np.arange(ROWS), kind, seed)


def is_refuted(name: str, seed: int, growth: bool = True) -> bool:
    """Whether it is refuted that .9 of it is readable, which is true; with the learning curve or without."""
    kind: Kind = KINDS[name]
    problem, units = readable(seed, kind), np.arange(ROWS)
    score, other = held_out(problem), constant(problem)
    interval, curve = interval_of(score, units, kind, seed), growth_of(problem, score, units)
    assert isinstance(curve, Growth)
    found = Measurement(
        score.score,
        interval.low,
        interval.high,
        ROWS,
        ROWS,
        "held-out score",
        (gain_over("constant", score, other, units, kind, seed),),
        growth=curve if growth else None,
    )
    stated = claim(name.split()[0], 0.9, "constant", margin=0.05)
    return decide(stated, found).outcome is Outcome.REFUTED
