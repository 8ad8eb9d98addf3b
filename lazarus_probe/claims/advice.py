"""How many groups would decide an inconclusive measurement."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from lazarus_probe.claims.claim import POSITIVE, Claim
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.power import required_groups


@dataclass(frozen=True)
class Need:
    """What it takes for one interval to clear its limit.

    Attributes:
        effect: that the claim declares, of the score or of a gain.
        limit: the threshold, or the margin.
        groups: that would do in four of five cases; None where none would.
        what: the quantity.
    """

    effect: float
    limit: float
    groups: int | None
    what: str = ""


def advice(claim: Claim, measurement: Measurement) -> str:
    """How many groups would support the claim in four of five cases, if it is as it declares: a part of a sentence.

    The threshold and the margin over every control count; the largest number is given. None is given where more groups
    could not support it: a control reaches what the declared effect does not exceed by the margin, or one more model of
    its kind may reach it.
    """
    hopeless = [
        control
        for control in measurement.controls
        if _expected_gain(claim, measurement, control) <= claim.margin + 1e-9
    ]
    if hopeless:
        nearest = min(hopeless, key=lambda control: _expected_gain(claim, measurement, control))
        gain = _expected_gain(claim, measurement, nearest)
        return (
            f"; more groups cannot help: over {nearest.name} the declared effect of {claim.expected:g} would gain "
            f"{gain:.2f}, and the margin is {claim.margin:g}"
        )
    apart = [
        control
        for control in measurement.controls
        if _expected_gain(claim, measurement, control) - control.spread <= claim.margin
    ]
    if apart:
        widest = max(apart, key=lambda control: control.spread)
        return (
            f"; more groups cannot help: one more model of {widest.name} may be {widest.spread:.2f} from those "
            f"measured, and the declared effect of {claim.expected:g} would gain "
            f"{_expected_gain(claim, measurement, widest):.2f} over them, where the margin is {claim.margin:g}; "
            "more such models may"
        )
    needs = [_of_score(claim, measurement), *(_of_gain(claim, measurement, c) for c in measurement.controls)]
    if any(need.groups is None for need in needs):
        return "; no feasible number of groups would help"
    most = max(needs, key=lambda need: need.groups or 0)
    if most.groups is None or most.groups <= measurement.groups:
        return ""
    have = f"{measurement.groups} group{'' if measurement.groups == 1 else 's'}"
    return (
        f"; {have} cannot tell {most.what}{most.effect:.4g} from {most.limit:.4g}, about {most.groups} would"
    )


def _of_score(claim: Claim, measurement: Measurement) -> Need:
    below = claim.kind == "absence" or (claim.kind == "invariance" and measurement.score > 0)
    reach = measurement.high - measurement.score if below else measurement.score - measurement.low
    limit = -claim.threshold if claim.kind == "invariance" and not below else claim.threshold
    groups = _groups(measurement, measurement.score, reach, claim.expected, limit, _floor(measurement))
    return Need(claim.expected, limit, groups)


def _of_gain(claim: Claim, measurement: Measurement, control: Control) -> Need:
    """Gains are differences: their range is twice as wide as the score's, about 0.

    What groups narrow is the reach without the spread of the control's models, which were joined by square-and-add: so
    is what they must clear.
    """
    gain, width = _expected_gain(claim, measurement, control), measurement.ceiling - _floor(measurement)
    reach = _without(control.gain - control.low, control.spread)
    limit = gain - _without(gain - claim.margin, control.spread)
    groups = _groups(measurement, control.gain, reach, gain, limit, -width, width)
    return Need(gain, claim.margin, groups, f"a gain over {control.name} of ")


def _without(reach: float, spread: float) -> float:
    """What is left of a reach without one of the two parts that were joined by square-and-add."""
    return sqrt(max(0.0, reach**2 - spread**2))


def _expected_gain(claim: Claim, measurement: Measurement, control: Control) -> float:
    """The gain over a control, were the score what the claim declares and the control what it is."""
    score, expected = measurement.score, claim.expected
    if claim.kind in POSITIVE:
        return control.gain + abs(score) - abs(expected)
    return control.gain + expected - score


def _groups(
    measurement: Measurement,
    score: float,
    reach: float,
    effect: float,
    limit: float,
    low: float,
    high: float | None = None,
) -> int | None:
    most = measurement.ceiling if high is None else high
    # A gain over a control whose R2 is below 0 can be above the range of what is possible in the end.
    score, effect = (min(max(value, low), most) for value in (score, effect))
    return required_groups(measurement.groups, score, reach, effect, limit, low, most)


def _floor(measurement: Measurement) -> float:
    """The least score, or where intervals reach below it, as those of R2 do, their end."""
    return min(measurement.floor, measurement.low, -1.0 if measurement.low < measurement.floor else 0.0)
