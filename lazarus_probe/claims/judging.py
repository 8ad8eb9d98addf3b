"""From a declared claim and what was measured to the verdict that a command or an analysis words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import declared, with_threshold
from lazarus_probe.claims.verdict import Outcome, Verdict, claim_p, judge, refutation_p
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.multiplicity import benjamini_hochberg


def judge_declared(claim_id: str, measurement: Measurement) -> Verdict:
    """The verdict on a declared claim.

    Raises:
        ClaimError: it is not declared, or a control that it wants was not measured.
    """
    return judge(declared(claim_id), measurement)


def at_threshold(claim_id: str, threshold: float) -> Claim:
    """The declared claim under the threshold of an option; the very claim, where that is the declared one.

    Raises:
        ClaimError: a threshold outside [-1, 1].
    """
    claim = declared(claim_id)
    return claim if threshold == claim.threshold else with_threshold(claim, threshold)


def by_option(claim_id: str, threshold: float, option: str) -> str:
    """What a text adds to a threshold that is not the declared one: which option set it, and what is declared."""
    usual = declared(claim_id).threshold
    return "" if threshold == usual else f" (by {option}; {usual:g} is declared)"


def beyond_largest_class(claim_id: str, labels: Sequence[str]) -> Claim:
    """The declared claim with the share of the largest class for its threshold: what is right without looking.

    The effect that is expected is half way from there to 1.
    """
    share = max(Counter(labels).values()) / len(labels)
    claim, effect = declared(claim_id), (1 + share) / 2
    return (
        claim if (share, effect) == (claim.threshold, claim.effect) else with_threshold(claim, share, effect)
    )


def judge_together(tests: Mapping[str, tuple[Claim, Measurement]], untested: int = 0) -> dict[str, Verdict]:
    """Judge every test, and make inconclusive what is supported, or refuted, alone but not among so many.

    Layers that are read side by side are looked at for the best of them, so all tests of a command are one family, in
    which the rate of false discoveries is held (Benjamini & Hochberg 1995); supports and refutations are corrected
    apart, as in the families of hypotheses.

    Args:
        tests: by name, what would have to hold, and what was measured.
        untested: how many more were tried and gave no number; they count as p = 1.

    Raises:
        ClaimError: a control that a claim wants was not measured.
    """
    supports, refutations = q_values(tests, claim_p, untested), q_values(tests, refutation_p, untested)
    verdicts = {}
    for name, (claim, measurement) in tests.items():
        alone = judge(claim, measurement)
        of_outcome = {Outcome.SUPPORTED: supports[name], Outcome.REFUTED: refutations[name]}
        q, count = of_outcome.get(alone.outcome, 0.0), len(tests) + untested
        reason = f"{alone.outcome} alone, but q = {q:.3g} among {count} tests; {alone.reason}"
        verdicts[name] = alone if q <= claim.alpha else Verdict(Outcome.INCONCLUSIVE, reason)
    return verdicts


@dataclass(frozen=True)
class JudgedLayers:
    """The verdicts on one claim at the layers that were read side by side.

    Attributes:
        claim: what would have to hold at a layer.
        verdicts: by layer.
    """

    claim: Claim
    verdicts: Mapping[int, Verdict]

    @property
    def supported(self) -> tuple[int, ...]:
        """The layers at which the claim is supported."""
        return tuple(
            layer for layer, verdict in self.verdicts.items() if verdict.outcome is Outcome.SUPPORTED
        )

    @property
    def named(self) -> dict[str, Verdict]:
        """The verdicts by the names of the layers, such as L3."""
        return {f"L{layer}": verdict for layer, verdict in self.verdicts.items()}

    def as_data(self) -> dict[str, Any]:
        """Every verdict as plain data, by the name of its layer."""
        return {name: verdict_data(self.claim, verdict) for name, verdict in self.named.items()}


def judge_layers(claim_id: str, measurements: Mapping[int, Measurement]) -> JudgedLayers:
    """Judge a declared claim at every layer, all of which are one family, as `judge_together` does.

    Raises:
        ClaimError: it is not declared, or a control that it wants was not measured.
    """
    claim = declared(claim_id)
    verdicts = judge_together({str(layer): (claim, measured) for layer, measured in measurements.items()})
    return JudgedLayers(claim, {layer: verdicts[str(layer)] for layer in measurements})


def q_values(
    tests: Mapping[str, tuple[Claim, Measurement]],
    p_of: Callable[[Claim, Measurement], float] = claim_p,
    untested: int = 0,
) -> dict[str, float]:
    """By test, its p corrected for all of them, as `judge_together` corrects it."""
    p_values = {name: p_of(*test) for name, test in tests.items()}
    family = [*tests, *(f" {number}" for number in range(untested))]  # no name begins with a space
    return dict(benjamini_hochberg(p_values, family).q) if family else {}


def verdict_data(claim: Claim, verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain data, with the claim it is on and the hash of what was declared."""
    return {
        "claim": claim.id,
        "hash": claim.hash,
        "outcome": str(verdict.outcome),
        "reason": verdict.reason,
    }
