"""A label that a token gives away: a probe of the model reads it, and so does a probe of the tokens."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from draws import claim

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, decide
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate

GROUPS = (10, 20, 40, 60, 100, 200)
KINDS = ("decodability", "emergence")


def given_away(seed: int) -> Measurement:
    """So many groups as the seed's turn is; tokens give all away, and the model loses one in forty, or none."""
    rng, groups = np.random.default_rng(seed), GROUPS[seed % len(GROUPS)]
    lost = rng.random(groups) < rng.choice([0.0, 0.025])
    controls = {"majority": np.arange(groups) % 2, "bag_of_tokens": np.ones(groups)}
    return rate("held-out accuracy", ~lost, np.arange(groups), controls)


def stated(kind: str, *controls: str) -> Claim:
    """A claim of .6, which ten groups can be enough for."""
    return claim(kind, 0.6, *controls, margin=0.05)


def is_not_confounded(kind: str, seed: int) -> bool:
    """Whether the verdict leaves open, or says, that the model adds something."""
    return (
        decide(stated(kind, "majority", "bag_of_tokens"), given_away(seed)).outcome is not Outcome.CONFOUNDED
    )


def is_supported(kind: str, seed: int, *controls: str) -> bool:
    """Whether the claim is supported with these controls alone."""
    found = given_away(seed)
    kept = tuple(control for control in found.controls if control.name in controls)
    return decide(stated(kind, *controls), replace(found, controls=kept)).outcome is Outcome.SUPPORTED
