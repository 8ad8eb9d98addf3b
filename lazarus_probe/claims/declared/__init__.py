"""The claims that ship with the package: what commands and analyses judge by, each declared once, in YAML.

A hypothesis file takes over those that it tests as well, by `- include: lazarus_probe.claims.declared:FILE.yaml`, so
that a command and a test judge by the very same claim.
"""

from __future__ import annotations

from pathlib import Path

from lazarus_probe.claims.claim import Claim, ClaimError, make_claim
from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.spelling import one_of

FOLDER = Path(__file__).parent


def declared(claim_id: str) -> Claim:
    """The claim of that id.

    Raises:
        ClaimError: none is declared under it.
    """
    claims = read_claims(FOLDER)
    if claim_id not in claims:
        raise ClaimError(f"claim {claim_id!r} is not declared; {one_of(claim_id, claims)}")
    return claims[claim_id]


def with_threshold(claim: Claim, threshold: float, effect: float | None = None) -> Claim:
    """The claim with another threshold on its score: one that a user set, or the chance level of their data.

    Whoever judges by it says so: see `judging.by_option`. Its expected effect is the least that would be supported,
    unless one is given.

    Raises:
        ClaimError: the threshold is outside [-1, 1], or the effect does not meet it.
    """
    fields = claim.model_dump() | {"threshold": threshold, "effect": effect}
    return make_claim(fields, f"threshold {threshold:g}")
