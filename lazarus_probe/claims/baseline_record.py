"""What a baseline holds of a claim, and how a later run compares with it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from lazarus_probe.claims.change import Change, change_of
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.statistics.intervals import estimate


class Difference(BaseModel):
    """How far a score moved since a baseline.

    Attributes:
        score: the new score less the old.
        low: lower end of its interval: Student's over the prompts' units where both sides measured the same ones, else
            that of two independent estimates.
        high: upper end.
        p: of a difference of 0, two-sided: of signs by chance where units are paired, else read off the interval. None
            in a run of an older version.
        q: p corrected for all the lines that were compared.
        lines: how many of them there were.
        paired: whether the same units were measured on both sides.
        real: whether q is at most .05, so that the difference is more than chance among so many, and a paired one is
            large enough to mean something (`differences.LEAST`).
    """

    model_config = ConfigDict(extra="forbid")

    score: float
    low: float
    high: float
    p: float | None = None
    q: float | None = None
    lines: int = 1
    paired: bool = False
    real: bool

    def __str__(self) -> str:
        caveat = "" if self.real else ", which may be chance"
        if self.paired and not self.real and self.q is not None and self.q <= 0.05:
            caveat = ", on the same prompts, too small to count"
        return f"{self.score:+.2f} [{self.low:+.2f}, {self.high:+.2f}]{caveat}{self.among}"

    @property
    def among(self) -> str:
        """How it stands among all lines of a comparison, in brackets; empty where there was one line."""
        return (
            f" (q = {self.q:.2g} of {self.lines} compared)" if self.lines > 1 and self.q is not None else ""
        )


class BaselineRecord(BaseModel):
    """What a baseline holds of a claim, and how it compares with the outcome of a run.

    Attributes:
        outcome: in its family.
        alone: the outcome of the test by itself.
        claim_hash: of the claim as it was pre-registered then.
        family: that it was corrected in.
        tokens: of all the prompts measured.
        compared: which verdicts are held against each other: the final ones (`outcome`), those of the tests by
            themselves where another part of the family ran (`alone`), or none, for the claim is another one since
            (`nothing`).
        difference: of the scores, where both were measured under the same claim.
        remark: what else differs.
        group_scores: of the measurement, to pair a later one with.
    """

    model_config = ConfigDict(extra="forbid")

    outcome: Outcome
    alone: Outcome = Field(default_factory=lambda data: data["outcome"])
    score: float | None = None
    low: float | None = None
    high: float | None = None
    tokens: int | None = None
    p: float | None = None
    q: float | None = None
    claim_hash: str
    family: str = ""
    threshold: float | None = None
    margin: float | None = None
    compared: Literal["outcome", "alone", "nothing"] = "outcome"
    difference: Difference | None = None
    remark: str | None = None
    group_scores: dict[str, tuple[float, int]] = {}

    def differs(self, outcome: Outcome, alone: Outcome) -> bool:
        """Whether a final verdict, or that of the test alone, is another one than this.

        Where another part of the family ran than then, the final verdicts are of different families: then the
        outcome of the test by itself is enough for it to be the same.
        """
        if self.compared == "nothing":
            return False
        return (
            alone not in (self.alone, self.outcome) if self.compared == "alone" else outcome != self.outcome
        )

    def change(self, outcome: Outcome, alone: Outcome) -> Change | None:
        """Which way a final verdict, or that of the test alone, differs from this one, if it does."""
        if not self.differs(outcome, alone):
            return None
        return change_of(self.alone, alone) if self.compared == "alone" else change_of(self.outcome, outcome)


def with_interval(score: float | None, low: float | None, high: float | None) -> str:
    """A score with its interval after a space; empty where there was none."""
    if score is None or low is None or high is None:
        return ""
    return f" {estimate(score, low, high)}"
