"""A model that is one more of its control models, which differ from each other by their seeds."""

from __future__ import annotations

import numpy as np
from draws import Draw, claim

from lazarus_probe.statistics.clustered import proportion_interval
from lazarus_probe.statistics.folds import Kind
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.probes.held_out import HeldOut, gain_over, over_models
from lazarus_probe.subject.control_models import COUNT

ROWS = 300
SPREAD = 0.1  # of the scores of such models; R2 of one organism's untrained models went from .10 to .71
CLASSES: Kind = "classification"


def model(rng: np.random.Generator) -> HeldOut:
    """What a probe says of some rows in one model of the kind."""
    right = (rng.random(ROWS) < np.clip(rng.normal(0.5, SPREAD), 0, 1)).astype(np.float64)
    return HeldOut(right, right, np.ones(ROWS))


def one_more(kind: str, seed: int, models: int = COUNT) -> Draw:
    """A claim that a model has more than untrained ones, of which it is one; a single one shows no spread."""
    rng, units = np.random.default_rng(seed), np.arange(ROWS)
    score, *others = (model(rng) for _ in range(1 + models))
    if models == 1:
        control = gain_over("untrained", score, others[0], units, CLASSES, seed)
    else:
        control = over_models("untrained", score, others, units, CLASSES, seed)
    interval = proportion_interval(score.hits, units)
    return Draw(
        claim(kind, 0.05, "untrained"),
        Measurement(score.score, interval.low, interval.high, ROWS, ROWS, "held-out accuracy", (control,)),
    )
