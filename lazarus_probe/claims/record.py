"""One line of a run: a claim, the model it was tested on, and what it came to."""

from __future__ import annotations

import re
from typing import Any

from pydantic import BaseModel, ConfigDict

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome


class ControlRecord(BaseModel):
    """A control as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    name: str
    score: float
    gain: float
    low: float
    high: float


class ExampleRecord(BaseModel):
    """A prompt behind a number, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    prompt: str
    expected: str
    said: str
    counted: bool


class CurveRecord(BaseModel):
    """A score along the layers, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    name: str
    x: list[float]
    y: list[float]
    low: list[float] | None
    high: list[float] | None
    axis: str


class GridRecord(BaseModel):
    """Scores over two axes, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    name: str
    rows: list[str]
    columns: list[str]
    values: list[list[float]]


class CounterexampleRecord(BaseModel):
    """Where a claim fails, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    where: str
    examples: list[ExampleRecord]
    score: float
    low: float
    high: float
    n: int


class MeasurementRecord(BaseModel):
    """A measurement as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    score: float
    low: float
    high: float
    n: int
    groups: int
    unit: str
    controls: list[ControlRecord]
    p: float | None
    seed: int
    details: dict[str, Any]
    tokens: int | None = None
    examples: list[ExampleRecord] = []
    curves: list[CurveRecord] = []
    grids: list[GridRecord] = []
    counterexamples: list[CounterexampleRecord] = []


class ModelRecord(BaseModel):
    """The model that a claim was tested on."""

    model_config = ConfigDict(extra="forbid")

    name: str
    fingerprint: str
    num_layers: int
    dtype: str


class Known(BaseModel):
    """What a baseline holds of a claim on the same model."""

    model_config = ConfigDict(extra="forbid")

    outcome: Outcome
    score: float | None
    low: float | None
    high: float | None
    claim_hash: str


class ClaimRecord(BaseModel):
    """The verdict of one claim, under one set of parameters, on one model.

    Attributes:
        alone: what the test came to by itself.
        outcome: what it comes to in its family.
        p: of the claim, see `claim_p`; None where nothing was measured.
        q: p corrected for the family, once the session has ended.
        family: the claims declared in the family, with how many cases each has on this model.
        known: what the baseline holds.
    """

    model_config = ConfigDict(extra="forbid")

    claim: Claim
    claim_hash: str
    test: str
    parameters: str
    model: ModelRecord
    outcome: Outcome
    alone: Outcome
    reason: str
    requirements: list[str]
    measurement: MeasurementRecord | None
    p: float | None = None
    q: float | None = None
    family: dict[str, int] = {}
    known: Known | None = None

    @property
    def key(self) -> str:
        """What names this line in a baseline: the claim and its parameters, not the model."""
        return f"{self.claim.id}[{self.parameters}]" if self.parameters else self.claim.id

    @property
    def order(self) -> tuple[list[tuple[str, int]], ...]:
        """Sorts records by file and test, parameters, model; `L10` comes after `L2`."""
        return tuple(map(_natural, (self.test.partition("[")[0], self.parameters, self.model.name)))

    @property
    def changed(self) -> bool:
        """Whether a baseline of this model holds another verdict."""
        return self.known is not None and self.known.outcome != self.outcome

    @property
    def sentence(self) -> str:
        """The verdict in one line, with what the baseline says of it."""
        known = ""
        if self.known is not None:
            known = f" ({self.known_line()})" if self.changed else " (as in the baseline)"
        return f"{self.key} on {self.model.name}: {self.outcome}{known}: {self.reason}"

    def known_line(self) -> str:
        """The baseline's verdict beside this one, with both numbers."""
        if self.known is None:
            return ""
        now = self.measurement
        new = _numbers(now.score, now.low, now.high) if now else ""
        old = _numbers(self.known.score, self.known.low, self.known.high)
        return f"baseline {self.known.outcome}{old}, now {self.outcome}{new}"


def _numbers(score: float | None, low: float | None, high: float | None) -> str:
    return "" if score is None else f" {score:.2f} [{low:.2f}, {high:.2f}]"


def _natural(text: str) -> list[tuple[str, int]]:
    """Sorts digits as numbers: pairs of a text and the number that follows it."""
    parts = [*re.split(r"(\d+)", text), "-1"]
    return [(words, int(number)) for words, number in zip(parts[::2], parts[1::2], strict=True)]
