"""What the claims of a suite measured on a mutant, compared with the model itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from lazarus_probe.reports.versions.compare import Comparison, Line
from lazarus_probe.statistics.measurement.group_scores import movement

Status = Literal["measured", "newly measurable", "no longer measurable", "broken", "gone"]
# A move of a score that counts where no harmless change was tried, and the least that counts at all; in scores.
LEAST = 0.02
# A claim's tolerance in the largest move that a harmless change made: others may move it further than the few tried.
SAFETY = 2.0
ROWS = 2  # rows that may turn over


class MutantOutcome(BaseModel):
    """What became of a claim on a mutant.

    Attributes:
        status: whether it was measured on both; else what happened.
        moved: how far units of prompts moved on average, up or down, where the same ones were measured on both.
        real: where they were not, whether the scores differ by more than chance among all claims of the suite.
        rows: measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    status: Status = "measured"
    moved: float | None = None
    real: bool = False
    rows: int = 0

    def catches(self, tolerance: float | None) -> bool:
        """Whether it shows that the model changed.

        Args:
            tolerance: how far harmless changes move the claim; None where that was not measured.
        """
        if self.status != "measured":
            return True
        if self.moved is None:
            return self.real
        least = max(LEAST, ROWS / self.rows) if self.rows else LEAST
        return self.moved > max(least, SAFETY * (tolerance or 0.0))


def readings(comparison: Comparison) -> dict[str, MutantOutcome]:
    """By claim and parameters what became of it, of those that gave a number on either model."""
    lines = {line.claim: _reading(line) for line in comparison.lines if line.group != "new"}
    return {claim: reading for claim, reading in lines.items() if reading is not None}


def _reading(line: Line) -> MutantOutcome | None:
    if line.group in ("broken", "gone"):
        return MutantOutcome(status=line.group)
    if line.old is None or line.new is None:
        return None
    if line.group in ("newly measurable", "no longer measurable"):
        return MutantOutcome(status=line.group)
    if line.old.score is None or line.new.score is None:
        return None
    paired = line.old.difference is not None and line.old.difference.paired
    rows = sum(count for _, count in line.old.group_scores.values())
    moved = movement(line.new.group_scores, line.old.group_scores) if paired else None
    real = line.old.difference is not None and line.old.difference.real
    return MutantOutcome(
        moved=None if moved is None else round(moved, 6), real=real and moved is None, rows=rows
    )


def tolerances(harmless: Mapping[str, Mapping[str, MutantOutcome]]) -> dict[str, float]:
    """By claim the furthest that harmless changes moved it; claims that none of them measured are left out.

    Args:
        harmless: by change, its readings by claim.
    """
    furthest: dict[str, float] = {}
    for of_change in harmless.values():
        for claim, reading in of_change.items():
            if reading.moved is not None:
                furthest[claim] = max(furthest.get(claim, 0.0), reading.moved)
    return furthest
