"""Answers that are right in most phrasings, whatever the numbers, and wrong in a tenth of all phrasings."""

from __future__ import annotations

from functools import cache

import numpy as np
from draws import Draw, claim

from lazarus_probe.claims.claim import POSITIVE
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate

FAILS = 0.1
# Kind of claim, phrasings and families: the nine phrasings of a former set, and more.
KINDS = {"decodability": (9, 40), "causal_sufficiency": (12, 60), "absence": (9, 40), "invariance": (9, 40)}


def in_new_phrasings(kind: str, seed: int, crossed: bool = True) -> Draw:
    """A claim of just what is true of all phrasings, from some of them; its units are both kinds, or families only."""
    failing = np.random.default_rng(seed).binomial(KINDS[kind][0], FAILS)
    stated = claim(kind, FAILS if kind in POSITIVE else 1 - FAILS, "control")
    over = ("phrasing", "family") if crossed else ()
    return Draw(
        stated.model_copy(update={"generalises_over": over}), of_phrasings(kind, int(failing), crossed)
    )


@cache
def of_phrasings(kind: str, failing: int, crossed: bool) -> Measurement:
    """So many phrasings fail; which of them is the same to the interval, but for its random weights."""
    phrasings, families = KINDS[kind]
    phrasing, family = np.repeat(np.arange(phrasings), families), np.tile(np.arange(families), phrasings)
    wrong = (phrasing < failing).astype(float)
    return rate(
        "rate",
        wrong if kind in POSITIVE else 1 - wrong,
        {"phrasing": phrasing, "family": family} if crossed else family,
        {"control": np.full(len(wrong), float(kind in POSITIVE))},
        positive=("control",) if kind in POSITIVE else (),
    )
