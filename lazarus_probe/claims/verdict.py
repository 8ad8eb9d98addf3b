"""From a measurement to a verdict, with the one sentence that explains it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.statistics.measurement import Control, Measurement


class Outcome(StrEnum):
    """What a claim comes to on one model."""

    SUPPORTED = "supported"
    REFUTED = "refuted"
    CONFOUNDED = "confounded"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Verdict:
    """An outcome and why."""

    outcome: Outcome
    reason: str

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"


def judge(claim: Claim, measurement: Measurement) -> Verdict:
    """Hold a measurement against what was pre-registered.

    In this order: too few groups is inconclusive; a score whose whole interval misses the threshold is
    refuted; a control over which the whole interval of the gain stays under the margin makes it
    confounded; supported needs the whole interval of the score past the threshold, of every gain past the
    margin, and p <= alpha, where there is a p. All else straddles. An absence rests on the interval
    alone: that p is large shows no absence.

    Raises:
        ClaimError: a declared control was not measured.
    """
    missing = set(claim.controls) - {control.name for control in measurement.controls}
    if missing:
        raise ClaimError(
            f"claim {claim.id!r} declares controls that were not measured: {', '.join(sorted(missing))}"
        )
    if measurement.groups < claim.minimum_groups:
        reason = f"{measurement.groups} independent groups, {claim.minimum_groups} are needed"
        return Verdict(Outcome.INCONCLUSIVE, reason)
    if _misses(claim, measurement):
        return Verdict(Outcome.REFUTED, f"{_scored(measurement)}, {_wanted(claim)} was claimed")
    worst = min(measurement.controls, key=lambda control: control.high)
    if worst.high < claim.margin:
        return Verdict(Outcome.CONFOUNDED, _explained(claim, measurement, worst))
    return _supported_or_not(claim, measurement)


def _misses(claim: Claim, measurement: Measurement) -> bool:
    if claim.kind == "absence":
        return measurement.low > claim.threshold
    return measurement.high < claim.threshold


def _supported_or_not(claim: Claim, measurement: Measurement) -> Verdict:
    reached = (
        measurement.high <= claim.threshold if claim.kind == "absence" else measurement.low >= claim.threshold
    )
    if not reached:
        return Verdict(
            Outcome.INCONCLUSIVE, f"{_scored(measurement)} straddles the threshold, {_wanted(claim)}"
        )
    weakest = min(measurement.controls, key=lambda control: control.low)
    if weakest.low < claim.margin:
        reason = (
            f"the gain over {weakest.name}, {_interval(weakest)}, straddles the margin of {claim.margin:g}"
        )
        return Verdict(Outcome.INCONCLUSIVE, reason)
    if claim.kind != "absence" and measurement.p is not None and measurement.p > claim.alpha:
        return Verdict(Outcome.INCONCLUSIVE, f"p = {measurement.p:.3g}, at most {claim.alpha:g} is needed")
    return Verdict(Outcome.SUPPORTED, f"{_scored(measurement)}; least gain: {weakest}")


def _scored(measurement: Measurement) -> str:
    return f"{measurement.unit} {measurement.score:.2f} [{measurement.low:.2f}, {measurement.high:.2f}]"


def _wanted(claim: Claim) -> str:
    return f"{'at most' if claim.kind == 'absence' else 'at least'} {claim.threshold:g}"


def _interval(control: Control) -> str:
    return f"{control.gain:.2f} [{control.low:.2f}, {control.high:.2f}]"


def _explained(claim: Claim, measurement: Measurement, control: Control) -> str:
    if claim.kind == "absence":
        return (
            f"{measurement.unit} is {measurement.score:.2f}, but {control.name} reaches only "
            f"{control.score:.2f}: an instrument that finds nothing anywhere shows no absence"
        )
    return (
        f"{control.name} reaches {control.score:.2f} and the model's gain over it is {_interval(control)}, "
        f"less than the margin of {claim.margin:g}"
    )
