"""An attempt at a case as a report keeps it, and one that broke."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from lazarus_probe.claims.baseline_record import with_interval
from lazarus_probe.claims.verdict import Outcome


class Broken(BaseModel):
    """A claim's test that gave no verdict, because something raised.

    Attributes:
        test: its node id.
        error: in one line.
        claim: and its parameters, as in a baseline; empty where a whole worker died.
        model: that it ran on.
    """

    model_config = ConfigDict(extra="forbid")

    test: str
    error: str
    claim: str = ""
    model: str = ""


class AttemptRecord(BaseModel):
    """One of several attempts at a case.

    Attributes:
        test: its node id.
        outcome: of this attempt alone, outside the family; None where the test broke.
        reason: of the verdict, or the error.
    """

    model_config = ConfigDict(extra="forbid")

    test: str
    outcome: Outcome | None
    reason: str
    score: float | None = None
    low: float | None = None
    high: float | None = None

    def __str__(self) -> str:
        return f"{self.outcome or 'broken'}{with_interval(self.score, self.low, self.high)}"
