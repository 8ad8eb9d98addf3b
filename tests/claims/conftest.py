from __future__ import annotations

from collections.abc import Callable

import pytest

from lazarus_probe.claims.claim import Claim, make_claim
from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord, ModelRecord
from lazarus_probe.claims.verdict import claim_p, judge
from lazarus_probe.statistics.measurement import Control, Measurement

FIELDS = {
    "id": "c",
    "statement": "It is so.",
    "source": "a paper",
    "family": "all",
    "kind": "decodability",
    "threshold": 0.9,
    "margin": 0.1,
    "controls": ["majority"],
}


@pytest.fixture(scope="session")
def a_claim() -> Callable[..., Claim]:
    """A complete claim; keyword arguments override its fields."""
    return lambda **changes: make_claim({**FIELDS, **changes}, "test")


@pytest.fixture(scope="session")
def measured() -> Callable[..., Measurement]:
    """A measurement of 100 prompts in 20 groups with one control; keyword arguments override its fields."""

    def make(score: float, gain: float = 0.5, **changes: object) -> Measurement:
        control = Control("majority", score - gain, gain, gain - 0.03, gain + 0.03)
        fields = {"low": score - 0.02, "high": score + 0.02, "n": 100, "groups": 20, "unit": "accuracy"}
        return Measurement(**{"score": score, "controls": (control,), **fields, **changes})

    return make


@pytest.fixture(scope="session")
def a_record(
    a_claim: Callable[..., Claim], measured: Callable[..., Measurement]
) -> Callable[..., ClaimRecord]:
    """The record of a score, judged; keyword arguments override its fields."""

    def make(
        score: float = 0.95, fingerprint: str = "f" * 64, model: str = "tiny", **changes: object
    ) -> ClaimRecord:
        claim, found = a_claim(), measured(score)
        verdict = judge(claim, found)
        fields = {
            "claim": claim,
            "claim_hash": claim.hash,
            "test": "test_c.py::test_c[tiny]",
            "parameters": "",
            "model": ModelRecord(name=model, fingerprint=fingerprint, num_layers=2, dtype="float32"),
            "outcome": verdict.outcome,
            "alone": verdict.outcome,
            "reason": verdict.reason,
            "requirements": [],
            "measurement": MeasurementRecord.model_validate(found.as_dict()),
            "p": claim_p(claim, found),
        }
        return ClaimRecord(**{**fields, **changes})

    return make
