"""What an ablation shows, in a word that comes from a verdict on a declared claim (`claims/declared/causes.yaml`).

A layer is called causal only when most outputs that passed fail without it, more than fail without as many coordinates
drawn at random over all layers, and when that stands against the number of layers tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_together, q_values
from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.statistics.measurement import Measurement

NEEDED, PARTLY, SUPPRESSES = "component-needed", "component-partly-needed", "component-suppresses"
# What the verdict on `NEEDED` is called.
WORDS = {
    Outcome.SUPPORTED: "CAUSAL",
    Outcome.CONFOUNDED: "NOT SPECIFIC",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.REFUTED: "NOT CAUSAL",
}


@dataclass(frozen=True)
class Conclusion:
    """A word with its reason; where it is a verdict's, the claim and its q over the layers tried."""

    word: str
    reason: str
    q: float | None = None
    claim: str | None = None


def conclusions(
    measured: Mapping[int, Measurement | None], *, inverse: bool = False
) -> dict[int, Conclusion]:
    """What each of a family of ablations shows, where it was measured.

    Args:
        measured: by row the share of outputs that change, compared with random controls; None where it has no interval.
            All rows count as tried.
        inverse: whether the outputs are those that fail and pass without a component. INVERSE CAUSAL is where most do;
            else there is nothing to break.
    """
    tests = {i: one for i, one in measured.items() if one is not None}
    untested = len(measured) - len(tests)
    if inverse:
        return {
            i: one.called("INVERSE CAUSAL" if one.supported else "BASELINE FAILS")
            for i, one in _judged(SUPPRESSES, tests, untested).items()
        }
    most, some = (_judged(claim_id, tests, untested) for claim_id in (NEEDED, PARTLY))
    return {
        i: some[i].called("PARTLY CAUSAL")
        if one.verdict.outcome is Outcome.REFUTED and some[i].supported
        else one.called(WORDS[one.verdict.outcome])
        for i, one in most.items()
    }


@dataclass(frozen=True)
class _Judged:
    """A verdict on a declared claim, with its q over the layers tried."""

    claim: str
    verdict: Verdict
    q: float

    @property
    def supported(self) -> bool:
        return self.verdict.outcome is Outcome.SUPPORTED

    def called(self, word: str) -> Conclusion:
        q = f"; q = {self.q:.2g} over the layers tried" if self.supported else ""
        return Conclusion(word, f"{self.verdict.reason}{q}", self.q, self.claim)


def _judged(claim_id: str, measured: Mapping[int, Measurement], untested: int) -> dict[int, _Judged]:
    """The verdicts on a declared claim, by row, among all layers tried."""
    tests = {str(i): (declared(claim_id), one) for i, one in measured.items()}
    verdicts, q = judge_together(tests, untested), q_values(tests, untested=untested)
    return {i: _Judged(claim_id, verdicts[str(i)], q[str(i)]) for i in measured}
