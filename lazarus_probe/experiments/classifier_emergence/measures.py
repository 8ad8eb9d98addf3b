"""From the runs of a study to the measurements that its claims are judged by. The independent unit is a training run.

Held-out items of one run share its weights; the arms are paired by seed and by item.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.experiments.classifier_emergence.arms import ARMS, Run
from lazarus_probe.experiments.classifier_emergence.readings import PARTS
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate

Runs = Mapping[str, Sequence[Run]]

# A control that is not an arm: a probe that always predicts the majority class.
MAJORITY = "majority"
UNITS = {
    "named": "rate of the class word on top",
    "probability": "probability of the class word",
    "both": "rate of class word and answer right",
    "answered": "share of answers right",
    "others": "share of answers to other tasks right",
    "decoded": "accuracy of the probe",
}


def claims() -> Mapping[str, Claim]:
    """The claims of the study, by id."""
    return read_claims(Path(__file__).parent)


def arms_of(claim: Claim) -> tuple[str, ...]:
    """The arms that a claim compares, its own first."""
    others = (claim.parameters.get(name) for name in ("against", "over"))
    named = (claim.parameters["arm"], *others, *claim.controls)
    return tuple(dict.fromkeys(str(name) for name in named if name in ARMS))


def parts_of(arm: str, run: int = 0) -> frozenset[str]:
    """The parts of an arm's reading, besides the lens, that some claim needs; later runs need fewer."""
    reads = {
        str(claim.parameters["reads"])
        for claim in claims().values()
        if arm in arms_of(claim) and int(str(claim.parameters["runs"])) > run
    }
    return frozenset(({"answered"} if "both" in reads else set()) | (reads & set(PARTS)))


def measure(
    claim: Claim,
    runs: Runs,
    seed: int = 0,
    labels: Sequence[str] = (),
    details: Mapping[str, Any] | None = None,
) -> Measurement:
    """The measurement for a claim.

    The score is the mean of what the claim reads over seeds and held-out items; with `against`, that other arm's score
    minus this one's; with `over`, this arm's score minus that other arm's. The same is subtracted in each control.
    Controls of an absence or an invariance are positive controls.

    Args:
        claim: with `arm`, `reads` and optionally `against` or `over` among its parameters.
        runs: by arm, one per seed; an arm without training may have a single run for all seeds.
        seed: of the intervals.
        labels: of the held-out items, for the control `majority`.
        details: added to the details about the arm.

    Raises:
        KeyError: an arm did not run.
        ValueError: fewer than two runs.
    """
    arm, reads = str(claim.parameters["arm"]), str(claim.parameters["reads"])
    score, unit = values(runs[arm], reads), UNITS[reads]
    others = {name: _control(name, runs, reads, score.shape, labels) for name in claim.controls}
    if "against" in claim.parameters:
        reference = np.broadcast_to(values(runs[str(claim.parameters["against"])], reads), score.shape)
        score, others = reference - score, {name: reference - other for name, other in others.items()}
        unit = f"{unit}, lost against {claim.parameters['against']}"
    if "over" in claim.parameters:
        less = np.broadcast_to(values(runs[str(claim.parameters["over"])], reads), score.shape)
        score, others = score - less, {name: other - less for name, other in others.items()}
        unit = f"{unit}, beyond {claim.parameters['over']}"
    return rate(
        unit,
        score.ravel(),
        np.repeat(np.arange(len(score)), score.shape[1]),
        {name: other.ravel() for name, other in others.items()},
        positive=tuple(others) if claim.kind in ("absence", "invariance") else (),
        low=-1.0 if {"against", "over"} & claim.parameters.keys() else 0.0,
        seed=seed,
        details={**(details or {}), **about(runs[arm])},
    )


def values(runs: Sequence[Run], reads: str) -> NDArray[np.float64]:
    """The values read (S, N), one row per run; a single row for the arm without training."""
    return np.stack([np.asarray(getattr(run.reading, reads), np.float64) for run in runs])


def about(runs: Sequence[Run]) -> dict[str, Any]:
    """Details about an arm for the report: its size, and every mean by seed."""
    description: dict[str, Any] = {
        "arm": runs[0].arm,
        "trainable": runs[0].trainable,
        "ranks": dict(runs[0].ranks),
    }
    for name in ("named", "probability", *PARTS):
        if read := [run for run in runs if getattr(run.reading, name).size]:
            description[f"{name}_by_seed"] = values(read, name).mean(axis=1).round(4).tolist()
    return description


def _control(
    name: str, runs: Runs, reads: str, shape: tuple[int, ...], labels: Sequence[str]
) -> NDArray[np.float64]:
    if name != MAJORITY:
        return np.broadcast_to(values(runs[name], reads), shape)
    classes, counts = np.unique(np.asarray(labels), return_counts=True)
    return np.broadcast_to(np.asarray(labels) == classes[counts.argmax()], shape).astype(np.float64)
