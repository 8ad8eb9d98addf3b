"""Few runs, of which some do what the claim says that none does: what intervals of bounded means are for.

A third of the draws of five runs hold none that differs, and then Student's interval and the bootstrap have no width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from draws import Draw, claim
from numpy.typing import NDArray

from lazarus_probe.claims.claim import POSITIVE
from lazarus_probe.statistics.bootstrap import cluster_bootstrap_means
from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.student import mean_t_interval

Floats = NDArray[np.float64]
HowSure = Callable[[Floats, float], Interval]


@dataclass(frozen=True)
class Few:
    """A claim that is false of runs of which a share differs by about .9 from what is claimed of all.

    Attributes:
        kind: of the claim.
        threshold: that the true mean misses.
        runs: how many are measured.
        share: of all runs that differ.
    """

    kind: str
    threshold: float
    runs: int
    share: float


KINDS = {
    few.kind: few
    for few in (
        Few("absence", 0.1, 5, 0.2),
        Few("invariance", 0.1, 5, 0.2),
        Few("training_effect", 0.9, 5, 0.2),
        Few("causal_sufficiency", 0.9, 10, 0.15),
        Few("causal_necessity", 0.9, 10, 0.15),
    )
}


def bounded(values: Floats, low: float) -> Interval:
    """The interval that holds for any distribution on the range."""
    return bounded_mean_interval(values, np.arange(len(values)), low, 1.0)


def student(values: Floats, low: float) -> Interval:
    """Student's, of the runs there are."""
    found = mean_t_interval(values)
    return Interval(float(found.low), float(found.high))


def bootstrap(values: Floats, low: float) -> Interval:
    """BCa, of the runs there are."""
    (found,) = cluster_bootstrap_means(values[:, None], np.arange(len(values)))
    return Interval(min(found.low, float(values.mean())), max(found.high, float(values.mean())))


INTERVALS: Mapping[str, HowSure] = {"Student": student, "bootstrap": bootstrap}


def unlike(few: Few, rng: np.random.Generator) -> Floats:
    """By run, how far it is from what is claimed: .9 in a share of them, and near 0 in all others."""
    most = np.minimum(1.0, 1e-4 * np.exp(rng.normal(size=few.runs)))
    return np.where(rng.random(few.runs) < few.share, rng.beta(18, 2, few.runs), most)


def few_runs(kind: str, seed: int, interval: HowSure = bounded) -> Draw:
    """A false claim on few runs, with a control that says nothing, or for an absence says it all."""
    few = KINDS[kind]
    away, known = unlike(few, np.random.default_rng(seed)), 1.0 if kind in POSITIVE else 0.0
    values = away if kind in POSITIVE else 1 - away
    gains = known - values if kind in POSITIVE else values - known
    score, gain = interval(values, -1.0 if kind == "invariance" else 0.0), interval(gains, 0.0)
    control = Control("control", known, float(gains.mean()), gain.low, gain.high)
    return Draw(
        claim(kind, few.threshold, "control"),
        Measurement(
            float(values.mean()), score.low, score.high, few.runs, few.runs, "probability", (control,)
        ),
    )
