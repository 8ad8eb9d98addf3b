"""Claims, the evidence a test collects for them, and the verdicts on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import ClaimError
    from lazarus_probe.claims.expectations import read_claims
    from lazarus_probe.claims.verdict import Outcome, judge
    from lazarus_probe.statistics.sequential.until_known import rate_until_known

__all__ = [
    "ClaimError",
    "Outcome",
    "judge",
    "rate_until_known",
    "read_claims",
]

_HOMES = {
    "ClaimError": "claims.claim",
    "Outcome": "claims.verdict",
    "judge": "claims.verdict",
    "rate_until_known": "statistics.sequential.until_known",
    "read_claims": "claims.expectations",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
