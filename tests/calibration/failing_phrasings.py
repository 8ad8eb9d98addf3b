"""Answers that are right in most phrasings, whatever the numbers, and wrong in a tenth of all phrasings."""

from __future__ import annotations

import numpy as np
from draws import Draw, claim

from lazarus_probe.introspection.rates import rate

FAILS = 0.1
# Kind of claim, phrasings and families: the nine phrasings of a former set, and a larger one.
KINDS = {"decodability": (9, 40), "causal_sufficiency": (24, 160), "absence": (9, 40), "invariance": (9, 40)}


def in_new_phrasings(kind: str, seed: int, crossed: bool = True) -> Draw:
    """A claim of just what is true of all phrasings, from some of them; its units are both kinds, or families only."""
    phrasings, families = KINDS[kind]
    rng = np.random.default_rng(seed)
    phrasing, family = np.repeat(np.arange(phrasings), families), np.tile(np.arange(families), phrasings)
    wrong = (rng.random(phrasings) < FAILS)[phrasing].astype(float)
    of_absence = kind in ("absence", "invariance")
    found = rate(
        "rate",
        wrong if of_absence else 1 - wrong,
        {"phrasing": phrasing, "family": family} if crossed else family,
        {"control": np.full(len(wrong), 1.0 if of_absence else 0.0)},
        positive=("control",) if of_absence else (),
    )
    stated = claim(kind, FAILS if of_absence else 1 - FAILS, "control")
    over = ("phrasing", "family") if crossed else ()
    return Draw(stated.model_copy(update={"generalises_over": over}), found)
