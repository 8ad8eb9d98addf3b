"""From a measurement to a verdict, with the one sentence that explains it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.statistics.intervals import estimate, shown
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.power import implied_p, required_groups

POSITIVE = ("absence", "invariance")


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
    margin, and p <= alpha, where there is a p. All else straddles, and then the reason says how many groups
    would tell. An absence or invariance rests on the interval alone: that p is large shows no absence.

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
        return Verdict(Outcome.INCONCLUSIVE, f"{reason}{_would(claim, measurement)}")
    if claim.misses(measurement.low, measurement.high):
        return Verdict(Outcome.REFUTED, f"{_scored(measurement)}, {_wanted(claim)} was claimed")
    worst = min(measurement.controls, key=lambda control: control.high)
    if worst.high < claim.margin:
        return Verdict(Outcome.CONFOUNDED, _explained(claim, measurement, worst))
    return _supported_or_not(claim, measurement)


def claim_p(claim: Claim, measurement: Measurement) -> float:
    """The p of all that a supported claim needs at once, which is the largest of its parts (Berger 1982).

    The parts are the measurement's own p, if it has one; that of the score against the threshold, and that of each
    gain against the margin, read off their intervals. It is what the claim's family is corrected by.
    """
    low, score, high = measurement.low, measurement.score, measurement.high
    above, below = (
        implied_p(score, low, high, -claim.threshold if claim.kind == "invariance" else claim.threshold),
        implied_p(-score, -high, -low, -claim.threshold),
    )
    of_score = {"absence": below, "invariance": max(above, below)}.get(claim.kind, above)
    of_gains = [implied_p(each.gain, each.low, each.high, claim.margin) for each in measurement.controls]
    own = [] if measurement.p is None or claim.kind in POSITIVE else [measurement.p]
    return max([of_score, *of_gains, *own])


def _supported_or_not(claim: Claim, measurement: Measurement) -> Verdict:
    if not claim.reaches(measurement.low, measurement.high):
        reason = f"{_scored(measurement)} straddles the threshold, {_wanted(claim)}"
        return Verdict(Outcome.INCONCLUSIVE, f"{reason}{_would(claim, measurement)}")
    weakest = min(measurement.controls, key=lambda control: control.low)
    if weakest.low < claim.margin:
        reason = (
            f"the gain over {weakest.name}, {_interval(weakest)}, straddles the margin of {claim.margin:g}"
        )
        return Verdict(Outcome.INCONCLUSIVE, reason)
    if claim.kind not in POSITIVE and measurement.p is not None and measurement.p > claim.alpha:
        return Verdict(Outcome.INCONCLUSIVE, f"p = {measurement.p:.3g}, at most {claim.alpha:g} is needed")
    return Verdict(Outcome.SUPPORTED, f"{_scored(measurement)}; least gain: {weakest}")


def _would(claim: Claim, measurement: Measurement) -> str:
    """How many groups would tell the declared effect from the threshold, if these are too few."""
    below = claim.kind == "absence" or (claim.kind == "invariance" and measurement.score > 0)
    reach = measurement.high - measurement.score if below else measurement.score - measurement.low
    limit = -claim.threshold if claim.kind == "invariance" and not below else claim.threshold
    needed = required_groups(measurement.groups, reach, claim.expected, limit)
    if needed is None or needed <= measurement.groups:
        return ""
    return (
        f"; {measurement.groups} groups cannot tell {claim.expected:g} from {limit:g}, about {needed} would"
    )


def _scored(measurement: Measurement) -> str:
    return f"{measurement.unit} {estimate(measurement.score, measurement.low, measurement.high)}"


def _wanted(claim: Claim) -> str:
    if claim.kind == "invariance":
        return f"within {claim.threshold:g} of 0"
    return f"{'at most' if claim.kind == 'absence' else 'at least'} {claim.threshold:g}"


def _interval(control: Control) -> str:
    return estimate(control.gain, control.low, control.high)


def _explained(claim: Claim, measurement: Measurement, control: Control) -> str:
    if claim.kind in POSITIVE:
        return (
            f"{measurement.unit} is {shown(measurement.score)}, but {control.name} reaches only "
            f"{shown(control.score)}: where the positive control is as low, that shows no {claim.kind}"
        )
    return (
        f"{control.name} reaches {shown(control.score)} and the model's gain over it is {_interval(control)}, "
        f"less than the margin of {claim.margin:g}"
    )
