"""One line of a run: a claim, the model it was tested on, and the outcome."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from lazarus_probe.claims.attempt_record import AttemptRecord
from lazarus_probe.claims.baseline_record import BaselineRecord, with_interval
from lazarus_probe.claims.change import Change
from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, claim_p, refutation_p
from lazarus_probe.statistics.measurement import counted

if TYPE_CHECKING:
    from lazarus_probe.claims.seed_runs import Judged, SeedRun


class ControlRecord(BaseModel):
    """A control as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    name: str
    score: float
    gain: float
    low: float
    high: float
    spread: float = 0.0


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


class GrowthRecord(BaseModel):
    """The end of a learning curve, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    half: float
    gain: float
    low: float
    high: float
    expected: float


class StrataRecord(BaseModel):
    """How much of a universal claim's domain was measured, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    declared: int
    measured: int
    failed: int
    upper: float
    untestable: list[str] = []


class DamageRecord(BaseModel):
    """What an edit does to unrelated prompts, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    unit: str
    score: float
    low: float
    high: float
    n: int


class PartRecord(BaseModel):
    """What else must hold besides a score, as kept in a report."""

    model_config = ConfigDict(extra="forbid")

    name: str
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
    units: dict[str, int] = {}
    floor: float = 0.0
    ceiling: float = 1.0
    growth: GrowthRecord | str | None = None
    strata: StrataRecord | None = None
    damage: DamageRecord | None = None
    parts: list[PartRecord] = []
    place: str = ""
    unmeasured: list[str] = []
    group_scores: dict[str, tuple[float, int]] = {}

    @property
    def counted(self) -> str:
        """What is counted, and where."""
        return counted(self.unit, self.place)


class ModelRecord(BaseModel):
    """The model that a claim was tested on."""

    model_config = ConfigDict(extra="forbid")

    name: str
    fingerprint: str
    num_layers: int
    dtype: str


class SeedRecord(BaseModel):
    """The outcome of one of several pooled seeds alone, as kept in a report.

    Attributes:
        seed: of the run.
        outcome: of this seed alone, outside the family.
    """

    model_config = ConfigDict(extra="forbid")

    seed: int
    outcome: Outcome
    reason: str
    score: float | None = None
    low: float | None = None
    high: float | None = None

    @classmethod
    def of(cls, run: SeedRun) -> SeedRecord:
        """As a report keeps it."""
        measured, verdict = run.measurement, run.verdict
        ends = {"score": measured.score, "low": measured.low, "high": measured.high} if measured else {}
        return cls(seed=run.seed, outcome=verdict.outcome, reason=verdict.reason, **ends)

    def __str__(self) -> str:
        return f"seed {self.seed}: {self.outcome}{with_interval(self.score, self.low, self.high)}"


class ClaimRecord(BaseModel):
    """The verdict of one claim, under one set of parameters, on one model.

    Attributes:
        alone: the outcome of the test by itself.
        outcome: after correction in its family.
        p: of the claim, see `claim_p`; None where nothing was measured.
        q: p corrected for the family, once the session has ended.
        p_refuted: of its opposite, see `refutation_p`.
        q_refuted: that one corrected for the family.
        family: the claims declared in the family, with how many cases each has on this model.
        seeds: the outcome of each seed alone, where several were pooled.
        attempts: all of them, the last one too, where the case ran more than once; see `merged_attempts`.
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
    p_refuted: float | None = None
    q_refuted: float | None = None
    family: dict[str, int] = {}
    seeds: list[SeedRecord] = []
    attempts: list[AttemptRecord] = []
    known: BaselineRecord | None = None

    @property
    def key(self) -> str:
        """What names this line in a baseline: the claim and its parameters, not the model."""
        return f"{self.claim.id}[{self.parameters}]" if self.parameters else self.claim.id

    @property
    def order(self) -> tuple[list[tuple[str, int]], ...]:
        """Sorts records by file and test, parameters, model; `L10` comes after `L2`."""
        return tuple(map(natural, (self.test.partition("[")[0], self.parameters, self.model.name)))

    @property
    def expected(self) -> Outcome | None:
        """The baseline's verdict that this one is held against, if there is one."""
        if self.known is None or self.known.compared == "nothing":
            return None
        return self.known.alone if self.known.compared == "alone" else self.known.outcome

    @property
    def changed(self) -> bool:
        """Whether the baseline holds another verdict."""
        return self.change is not None

    @property
    def change(self) -> Change | None:
        """Which way the verdict changed since the baseline."""
        return self.known.change(self.outcome, self.alone) if self.known else None

    @property
    def stable(self) -> int:
        """With how many of the pooled seeds alone the test would have had the same outcome."""
        return sum(seed_record.outcome == self.alone for seed_record in self.seeds)

    @property
    def stability(self) -> str:
        """How stable the verdict is over the pooled seeds, in words; empty where one seed was run."""
        if not self.seeds:
            return ""
        others = Counter(
            str(seed_record.outcome) for seed_record in self.seeds if seed_record.outcome != self.alone
        )
        rest = ", ".join(f"{outcome} in {count}" for outcome, count in others.most_common())
        return f"stable in {self.stable} of {len(self.seeds)} seeds{f' ({rest})' if rest else ''}"

    @property
    def why(self) -> str:
        """The reason, and how stable the verdict is where seeds were pooled."""
        return f"{self.reason}; {self.stability}" if self.seeds else self.reason

    @property
    def sentence(self) -> str:
        """The verdict in one line, with what the baseline says of it."""
        return f"{self.key} on {self.model.name}: {self.outcome}{self._aside()}: {self.why}"

    def _aside(self) -> str:
        if self.changed:
            return f" ({self.known_line()})"
        if self.expected is not None:
            return " (as in the baseline)" if self.outcome == self.expected else " (alone as in the baseline)"
        moved = self.known.remark if self.known else None
        return f" ({moved})" if moved and "changed since" in moved else ""

    def known_line(self) -> str:
        """The baseline's verdict next to this one, with both numbers and their difference."""
        if self.known is None:
            return ""
        now = self.measurement
        new = with_interval(now.score, now.low, now.high) if now else ""
        old = with_interval(self.known.score, self.known.low, self.known.high)
        moved = f", difference {self.known.difference}" if self.known.difference else ""
        remark = f" ({self.known.remark})" if self.known.remark else ""
        outcome = self.alone if self.known.compared == "alone" else self.outcome
        return f"baseline {self.expected or self.known.outcome}{old}, now {outcome}{new}{moved}{remark}"


def judged_fields(claim: Claim, judged: Judged) -> dict[str, Any]:
    """The fields of a record that give the outcome of a claim, before its family is complete."""
    measurement, verdict = judged.measurement, judged.verdict
    return {
        "outcome": verdict.outcome,
        "alone": verdict.outcome,
        "reason": verdict.reason,
        "requirements": list(judged.requirements),
        "measurement": MeasurementRecord.model_validate(measurement.as_dict()) if measurement else None,
        "p": claim_p(claim, measurement) if measurement else None,
        "p_refuted": refutation_p(claim, measurement) if measurement else None,
        "seeds": [SeedRecord.of(run) for run in judged.seeds],
    }


def named_seeds(seeds: Sequence[int]) -> str:
    """The seeds of a run in words: `seed 3`, or `seeds 0, 1, 2 pooled`."""
    return f"seeds {', '.join(map(str, seeds))} pooled" if len(seeds) > 1 else f"seed {seeds[0]}"


def natural(text: str) -> list[tuple[str, int]]:
    """Sorts digits as numbers: pairs of a text and the number that follows it."""
    parts = [*re.split(r"(\d+)", text), "-1"]
    return [(words, int(number)) for words, number in zip(parts[::2], parts[1::2], strict=True)]
