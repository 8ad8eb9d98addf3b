"""A claim of every slice of prompts, of which a tenth fails as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from draws import Draw, claim
from hypothesis import strategies

from lazarus_probe.claims.claim import POSITIVE
from lazarus_probe.claims.falsification import Rows
from lazarus_probe.claims.falsify import falsify

SLICES, FAILING, ALLOWED = 72, 7, 0.05
# The score of a prompt for which the claim holds, that of one for which it fails, and the threshold between.
KINDS = {
    "causal_sufficiency": (1.0, 0.0, 0.5),
    "causal_necessity": (1.0, 0.0, 0.5),
    "decodability": (1.0, 0.0, 0.5),
    "absence": (0.0, 1.0, 0.5),
    "invariance": (0.0, 1.0, 0.5),
}
# The budget of the search that came to a tenth of the slices and called them all; no slice is sent a second time.
BUDGET = {"budget": 40, "passes": 4, "fresh": 64}


@dataclass(frozen=True, order=True)
class Numbered:
    """A slice of as many prompts as are asked for."""

    number: int

    def draw(self, count: int, rng: np.random.Generator, part: str) -> list[tuple[int, str, int]]:
        return [(self.number, part, int(prompt)) for prompt in rng.permutation(200)[:count]]


def measured(kind: str, failing: frozenset[int], items: Sequence[tuple[int, str, int]]) -> Rows:
    """Each prompt of a slice as the slice is."""
    holds, fails, _ = KINDS[kind]
    names = [str(item) for item in items]
    scores = [fails if number in failing else holds for number, _, _ in items]
    return Rows(items, scores, names, names, [""] * len(items), [""] * len(items))


def everywhere(kind: str, seed: int, every: bool = True, failing: int = FAILING) -> Draw:
    """A claim of all slices, measured in each of them; or as a search that draws a few of them came to it."""
    chosen = np.random.default_rng(seed).choice(SLICES, failing, replace=False).tolist()
    stated = claim(kind, KINDS[kind][2], "control")
    slices = [Numbered(number) for number in range(SLICES)]
    searched = slices if every else strategies.sampled_from(slices)
    stated = stated.model_copy(update={"failing_share": ALLOWED if every else None})
    found = falsify(stated, partial(measured, kind, frozenset(chosen)), searched, seed=seed, **BUDGET)
    control = 1.0 if kind in POSITIVE else 0.0
    return Draw(stated, found.measurement("rate", control=np.full(len(found.rows.items), control)))
