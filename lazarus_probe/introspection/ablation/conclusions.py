"""The conclusion from an ablation, in a word that is the verdict on a declared claim (`claims/declared/causes.yaml`).

A layer is causal only if most outputs that passed fail without it, more than without as many coordinates drawn at
random over all layers, and if that is significant among the layers tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import judge_together, q_values
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.statistics.measurement import Measurement

NEEDED = {
    Outcome.SUPPORTED: "CAUSAL",
    Outcome.CONFOUNDED: "NOT SPECIFIC",
    Outcome.INCONCLUSIVE: "INCONCLUSIVE",
    Outcome.REFUTED: "NOT CAUSAL",
}
PARTLY = {Outcome.SUPPORTED: "PARTLY CAUSAL"}
SUPPRESSES = {Outcome.SUPPORTED: "INVERSE CAUSAL"}


@dataclass(frozen=True)
class Conclusion:
    """A word with its reason; if it is that of a verdict, the claim and its q over the layers tried."""

    word: str
    reason: str
    q: float | None = None
    claim: str | None = None


def conclusions(
    measured: Mapping[int, Measurement | None], *, inverse: bool = False
) -> dict[int, Conclusion]:
    """The conclusion from each of a family of ablations that was measured.

    Args:
        measured: the share of outputs that change, compared with random controls, by row; None without an interval.
            All rows count as tried.
        inverse: whether the outputs are those that fail, and pass without a component. INVERSE CAUSAL is where most do;
            else there is nothing to break.
    """
    if inverse:
        return _judged("component-suppresses", SUPPRESSES, measured, "BASELINE FAILS")
    needed = _judged("component-needed", NEEDED, measured)
    partly = _judged("component-partly-needed", PARTLY, measured)
    return {
        i: partly[i] if conclusion.word == "NOT CAUSAL" and partly[i].word else conclusion
        for i, conclusion in needed.items()
    }


def _judged(
    claim_id: str,
    words: Mapping[Outcome, str],
    measured: Mapping[int, Measurement | None],
    otherwise: str = "",
) -> dict[int, Conclusion]:
    """The verdicts on a declared claim among all layers tried, by row, with the word for their outcome."""
    claim = declared(claim_id)
    tests = {str(i): (claim, measurement) for i, measurement in measured.items() if measurement is not None}
    untested = len(measured) - len(tests)
    q = q_values(tests, untested=untested)
    concluded = {}
    for i, verdict in judge_together(tests, untested).items():
        tried = f"; q = {q[i]:.2g} over the layers tried" if verdict.outcome is Outcome.SUPPORTED else ""
        word = words.get(verdict.outcome, otherwise)
        concluded[int(i)] = Conclusion(word, f"{verdict.reason}{tried}", q[i], claim_id)
    return concluded
