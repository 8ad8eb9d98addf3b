"""From a measurement to a verdict, with the one sentence that explains it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from lazarus_probe.claims.advice import advice
from lazarus_probe.claims.claim import POSITIVE, Claim, ClaimError
from lazarus_probe.statistics.intervals import estimate, shown
from lazarus_probe.statistics.measurement import Control, Measurement, Part, Strata
from lazarus_probe.statistics.power import implied_p

ROUNDING = 1e-6


class Outcome(StrEnum):
    """The outcome of a claim on one model.

    Example:
        >>> from lazarus_probe.claims import Outcome
        >>> [str(outcome) for outcome in Outcome]
        ['supported', 'refuted', 'confounded', 'inconclusive', 'not applicable']
    """

    SUPPORTED = "supported"
    REFUTED = "refuted"
    CONFOUNDED = "confounded"
    INCONCLUSIVE = "inconclusive"
    NOT_APPLICABLE = "not applicable"


@dataclass(frozen=True)
class Verdict:
    """An outcome and why.

    Attributes:
        outcome: one of five.
        reason: in one sentence.
        lacks_groups: whether it is inconclusive for want of independent groups.

    Example:
        >>> from lazarus_probe import Verdict
        >>> from lazarus_probe.claims import Outcome
        >>> verdict = Verdict(Outcome.INCONCLUSIVE, "4 independent groups, 10 are needed", lacks_groups=True)
        >>> str(verdict)
        'inconclusive: 4 independent groups, 10 are needed'
    """

    outcome: Outcome
    reason: str
    lacks_groups: bool = False

    def __str__(self) -> str:
        return f"{self.outcome}: {self.reason}"


def judge(claim: Claim, measurement: Measurement) -> Verdict:
    """Hold a measurement against what was pre-registered: `decide`, with what else a reader must know.

    That is how many groups would do where they are lacking, and the damage of an edit, except where there are too few
    groups to say anything.

    Raises:
        ClaimError: as `decide`.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe import Control, Measurement
        >>> from lazarus_probe.claims import judge, read_claims
        >>> claim = read_claims(Path("expectations"))["answers-products"]
        >>> untrained = Control("untrained", score=0.0, gain=0.95, low=0.92, high=0.97)
        >>> measurement = Measurement(0.95, 0.92, 0.97, n=400, groups=40, unit="accuracy", controls=(untrained,))
        >>> judge(claim, measurement).outcome.value
        'supported'
    """
    verdict = decide(claim, measurement)
    # How many groups would do depends on all controls.
    more = advice(claim, measurement) if verdict.lacks_groups and not measurement.unmeasured else ""
    if measurement.unmeasured:
        why = "scores only" if claim.scores_only else "since the verdict does not need them"
        more += f"; not run, {why}: {', '.join(measurement.unmeasured)}"
    if measurement.groups < measurement.details.get("of_units", 0):  # of `rate_until_known`
        more += f"; known after {measurement.groups} of {measurement.details['of_units']} units"
    if measurement.damage and measurement.groups >= claim.minimum_groups:
        more += f"; damage: {measurement.damage}"
    return replace(verdict, reason=verdict.reason + more)


def decide(claim: Claim, measurement: Measurement) -> Verdict:
    """The outcome of a measurement under what was pre-registered.

    In this order:

    1. Too few independent groups, of any kind that is generalised over: inconclusive.
    2. The whole interval of the score misses the threshold, or that of a circuit's part what was declared for it:
       refuted, unless the score is a probe's whose learning curve still rises by the margin; that lacks rows, and is
       inconclusive.
    3. The whole interval of the gain over a control stays under the margin, or the control is so near the ceiling
       that no score could gain the margin over it: confounded.
    4. The score's whole interval is past the threshold, that of every gain past the margin, that of every part past
       what was declared for it, p <= alpha where there is a p, an absence's learning curve is flat, and of a claim that
       holds everywhere few enough strata may fail: supported.
    5. All else straddles: inconclusive.

    An absence or invariance rests on the interval alone: that p is large shows no absence. Its interval within the
    threshold is a pair of one-sided tests (Schuirmann 1987), each at half of what the interval misses.

    The first three stand whatever further controls would show, so a measurement may leave those out there
    (`unmeasured`), and elsewhere only where the claim's score alone is wanted (`scores_only`): inconclusive.

    Raises:
        ClaimError: a declared control, kind of unit, part or the strata were not measured.
    """
    _check_measured(claim, measurement)
    if verdict := _decided(claim, measurement):
        return verdict
    if measurement.unmeasured and claim.scores_only:
        return Verdict(Outcome.INCONCLUSIVE, f"{_scored(measurement)}, without its controls")
    if measurement.unmeasured:
        raise ClaimError(
            f"claim {claim.id!r} depends on controls that were not measured: {', '.join(measurement.unmeasured)}"
        )
    if claim.misses(measurement.low, measurement.high):
        reason = f"{_scored(measurement)} misses the threshold, {_wanted(claim)}, but more rows may help"
        return Verdict(Outcome.INCONCLUSIVE, f"{reason}: {_rising(measurement)}")
    return _supported_or_not(claim, measurement)


def decided_early(claim: Claim, measurement: Measurement) -> bool:
    """Whether no further control is to be measured.

    None can change the outcome, there being too few groups, a refutation or one that confounds; or the score alone is
    wanted.
    """
    return claim.scores_only or _decided(claim, measurement) is not None


def _decided(claim: Claim, measurement: Measurement) -> Verdict | None:
    """The verdict that further controls cannot change, if it is there already."""
    if measurement.groups < claim.minimum_groups:
        return _lacking(f"{_fewest(measurement)}, {claim.minimum_groups} are needed")
    if claim.misses(measurement.low, measurement.high) and not _still_rises(claim, measurement):
        return Verdict(Outcome.REFUTED, f"{_scored(measurement)}, {_wanted(claim)} was claimed")
    for part in _parts(claim, measurement):
        if part.high < claim.parts[part.name]:
            reason = f"its {part}, at least {claim.parts[part.name]:g} was claimed; {_scored(measurement)}"
            return Verdict(Outcome.REFUTED, reason)
    gains = {control: _possible_gain(claim, measurement, control) for control in measurement.controls}
    best_control = min(gains, key=lambda control: gains[control], default=None)
    if best_control is not None and gains[best_control] < claim.margin:
        return Verdict(Outcome.CONFOUNDED, _explained(claim, measurement, best_control))
    return None


def claim_p(claim: Claim, measurement: Measurement) -> float:
    """The p of all that a supported claim needs at once, which is the largest of its parts (Berger 1982).

    The parts are the measurement's own p, if it has one; that of the score against the threshold, that of each gain
    against the margin and that of what else was declared, read off their intervals. It is what the claim's family is
    corrected by.
    """
    low, score, high = measurement.low, measurement.score, measurement.high
    above, below = (
        implied_p(score, low, high, -claim.threshold if claim.kind == "invariance" else claim.threshold),
        implied_p(-score, -high, -low, -claim.threshold),
    )
    of_score = {"absence": below, "invariance": max(above, below)}.get(claim.kind, above)
    of_gains = [
        implied_p(control.gain, control.low, control.high, claim.margin) for control in measurement.controls
    ]
    of_parts = [
        implied_p(part.score, part.low, part.high, claim.parts[part.name])
        for part in _parts(claim, measurement)
    ]
    own = [] if measurement.p is None or claim.kind in POSITIVE else [measurement.p]
    return max([of_score, *of_gains, *of_parts, *own])


def refutation_p(claim: Claim, measurement: Measurement) -> float:
    """The p of a refutation: that the score misses the threshold, read off its interval.

    An invariance can be missed on either side, so the smaller p is doubled; a circuit in its score and in each of its
    parts, so that the smallest p counts as often as there are chances.
    """
    low, score, high = measurement.low, measurement.score, measurement.high
    above = implied_p(score, low, high, claim.threshold)
    if claim.kind == "absence":
        return above
    if claim.kind == "invariance":
        return min(1.0, 2 * min(above, implied_p(-score, -high, -low, claim.threshold)))
    below = [implied_p(-score, -high, -low, -claim.threshold)]
    below += [
        implied_p(-part.score, -part.high, -part.low, -claim.parts[part.name])
        for part in _parts(claim, measurement)
    ]
    return min(1.0, len(below) * min(below))


def _check_measured(claim: Claim, measurement: Measurement) -> None:
    names = {control.name for control in measurement.controls} | set(measurement.unmeasured)
    for noun, declared, measured in (
        ("controls", claim.controls, names),
        ("kinds of units to generalise over", claim.generalises_over, set(measurement.units)),
        ("parts", claim.parts, {part.name for part in measurement.parts} | set(measurement.unmeasured)),
    ):
        if missing := set(declared) - measured:
            raise ClaimError(
                f"claim {claim.id!r} declares {noun} that were not measured: {', '.join(sorted(missing))}"
            )
    if claim.failing_share is not None and measurement.strata is None:
        raise ClaimError(
            f"claim {claim.id!r} declares the share of strata that may fail, but no strata were measured: "
            "measure it with `falsify` over slices, or drop `failing_share`"
        )


def _supported_or_not(claim: Claim, measurement: Measurement) -> Verdict:
    if not claim.reaches(measurement.low, measurement.high):
        reason = f"{_scored(measurement)} straddles the threshold, {_wanted(claim)}"
        return _lacking(reason)
    weakest = min(measurement.controls, key=lambda control: control.low)
    if weakest.low < claim.margin:
        gain = f"the gain over {weakest.name}, {_interval(weakest)}"
        return _lacking(f"{gain}, straddles the margin of {claim.margin:g}")
    for part in _parts(claim, measurement):
        if part.low < claim.parts[part.name]:
            reason = f"its {part} straddles what was claimed, at least {claim.parts[part.name]:g}"
            return Verdict(Outcome.INCONCLUSIVE, reason)
    if claim.kind not in POSITIVE and measurement.p is not None and measurement.p > claim.alpha:
        return Verdict(Outcome.INCONCLUSIVE, f"p = {measurement.p:.3g}, at most {claim.alpha:g} is needed")
    if claim.kind == "absence" and _may_gain(claim, measurement):
        return Verdict(
            Outcome.INCONCLUSIVE, f"{_scored(measurement)}, but more rows may help: {_rising(measurement)}"
        )
    strata, allowed = measurement.strata, claim.failing_share
    if strata is not None and allowed is not None and strata.upper > allowed:
        return Verdict(Outcome.INCONCLUSIVE, f"{_everywhere(strata)}, at most {allowed:.0%} are allowed")
    reason = "; ".join([f"{_scored(measurement)}; least gain: {weakest}", *map(str, measurement.parts)])
    if strata is not None:
        reason += f"; {_everywhere(strata)}"
    return Verdict(Outcome.SUPPORTED, reason)


def _parts(claim: Claim, measurement: Measurement) -> list[Part]:
    """What was measured besides the score of what the claim declares."""
    return [part for part in measurement.parts if part.name in claim.parts]


def _still_rises(claim: Claim, measurement: Measurement) -> bool:
    """Whether a probe of something to be read may lack rows, rather than the model what is to be read."""
    return claim.kind not in POSITIVE and _may_gain(claim, measurement)


def _may_gain(claim: Claim, measurement: Measurement) -> bool:
    """Whether more rows may bring a probe the margin; where its learning curve cannot be had, nobody knows."""
    growth = measurement.growth
    return isinstance(growth, str) or (growth is not None and growth.high >= claim.margin)


def _possible_gain(claim: Claim, measurement: Measurement, control: Control) -> float:
    """The largest gain over a control that the measurement leaves possible.

    That is the end of the gain's interval, or what any score could gain at all, if that is less: a perfect control
    leaves nothing to gain, and with more groups it is no less perfect. Without the second part a score of .975 would be
    confounded where 1.00 is inconclusive, for the interval of a gain of 0 is wide.
    """
    score = measurement.score
    if claim.kind in POSITIVE:
        gain, most = abs(control.score) - abs(score), abs(control.score)
    else:
        gain, most = score - control.score, measurement.ceiling - control.score
    # A control may gain over something else than the score, as the probe of shuffled labels does over its own.
    return min(control.high, most) if abs(gain - control.gain) < ROUNDING else control.high


def _lacking(reason: str) -> Verdict:
    return Verdict(Outcome.INCONCLUSIVE, reason, lacks_groups=True)


def _rising(measurement: Measurement) -> str:
    growth = measurement.growth
    if growth is None or isinstance(growth, str):
        return f"there is no learning curve ({growth})"
    return (
        f"from half of the groups to all it gains {estimate(growth.gain, growth.low, growth.high)}; "
        f"twice as many are expected to give {shown(growth.expected)}"
    )


def _everywhere(strata: Strata) -> str:
    untestable = f"; not measurable: {', '.join(strata.untestable)}" if strata.untestable else ""
    return (
        f"{strata.measured} of {strata.declared} strata were measured, {strata.failed} failed, and up to "
        f"{strata.upper:.0%} may fail{untestable}"
    )


def _fewest(measurement: Measurement) -> str:
    if not measurement.units:
        return f"{measurement.groups} independent group{'' if measurement.groups == 1 else 's'}"
    return f"independent units: {', '.join(f'{count} {name}' for name, count in measurement.units.items())}"


def _scored(measurement: Measurement) -> str:
    return f"{measurement.counted} {estimate(measurement.score, measurement.low, measurement.high)}"


def _wanted(claim: Claim) -> str:
    if claim.kind == "invariance":
        return f"within {claim.threshold:g} of 0"
    return f"{'at most' if claim.kind == 'absence' else 'at least'} {claim.threshold:g}"


def _interval(control: Control) -> str:
    return estimate(control.gain, control.low, control.high)


def _explained(claim: Claim, measurement: Measurement, control: Control) -> str:
    if claim.kind in POSITIVE:
        return (
            f"{measurement.counted} is {shown(measurement.score)}, but {control.name} reaches only "
            f"{shown(control.score)}: where the positive control is as low, that shows no {claim.kind}"
        )
    if control.high >= claim.margin:
        reached = f"{control.name} reaches {shown(control.score)}"
        return f"{reached}: no score could gain the margin of {claim.margin:g} over it"
    return (
        f"{control.name} reaches {shown(control.score)} and the model's gain over it is {_interval(control)}, "
        f"less than the margin of {claim.margin:g}"
    )
