"""Many claims in one family, each just true, or each just false."""

from __future__ import annotations

from functools import cache

import numpy as np
from draws import claim

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.judging import judge_together
from lazarus_probe.claims.verdict import Outcome, decide
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate

CLAIMS, GROUPS, SHARE = 20, 60, 0.5
KINDS = ("decodability", "causal_necessity", "causal_sufficiency", "absence", "emergence", "training_effect")


@cache
def measured(right: int, positive: bool) -> Measurement:
    """So many groups right of all, beside a control that is never right; of an absence one that always is."""
    control = {"control": np.full(GROUPS, float(positive))}
    positive_names = ("control",) if positive else ()
    return rate("rate", np.arange(GROUPS) < right, np.arange(GROUPS), control, positive=positive_names)


def family(kind: str, seed: int) -> dict[str, tuple[Claim, Measurement]]:
    """Claims whose true score is their threshold, so that one that is refuted, or supported, is so by chance."""
    counts = np.random.default_rng(seed).binomial(GROUPS, SHARE, CLAIMS)
    stated = claim(kind, SHARE, "control")
    return {
        f"claim {number}": (stated, measured(int(right), kind == "absence"))
        for number, right in enumerate(counts)
    }


def any_is(outcome: Outcome, kind: str, seed: int, together: bool = True) -> bool:
    """Whether any of the claims has an outcome, judged together or each alone."""
    tests = family(kind, seed)
    verdicts = judge_together(tests) if together else {name: decide(*test) for name, test in tests.items()}
    return any(verdict.outcome is outcome for verdict in verdicts.values())
