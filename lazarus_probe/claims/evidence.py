"""What a claim's test hands in: one measurement, or the reason why the claim does not apply to this model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lazarus_probe.claims.claim import Claim, ClaimError
from lazarus_probe.claims.verdict import Outcome, Verdict, judge

if TYPE_CHECKING:
    from lazarus_probe.statistics.measurement import Measurement


class NotApplicable(Exception):  # noqa: N818 - no error: the claim's precondition fails on this model
    """The claim says nothing about this model."""


@dataclass
class Evidence:
    """Collects a test's measurement for one claim on one model.

    Attributes:
        claim: what was pre-registered.
        seed: derived from the claim's id and the run's seed; use it for every random choice.
        measurement: what `record` was given.
    """

    claim: Claim
    seed: int
    measurement: Measurement | None = None
    requirements: list[str] = field(default_factory=list)

    def require(self, holds: bool, precondition: str) -> None:
        """State a precondition of the claim; where it fails, the claim is not applicable and the test ends.

        Args:
            holds: whether it does.
            precondition: with its number, as in `answers 0.98 of the products; 0.9 are needed`.
        """
        if not holds:
            raise NotApplicable(precondition)
        self.requirements.append(precondition)

    def record(self, measurement: Measurement) -> None:
        """Hand in the measurement that the claim is judged by; once.

        Raises:
            ClaimError: a second measurement; parametrise the test instead, so that each has a verdict.
        """
        if self.measurement is not None:
            raise ClaimError(f"claim {self.claim.id!r} recorded twice: parametrise the test instead")
        self.measurement = measurement

    def verdict(self) -> Verdict:
        """The verdict on what was recorded.

        Raises:
            ClaimError: nothing was recorded.
        """
        if self.measurement is None:
            raise ClaimError(f"claim {self.claim.id!r}: the test ended without evidence.record(...)")
        return judge(self.claim, self.measurement)


def not_applicable(reason: str) -> Verdict:
    """The verdict of a claim whose precondition fails."""
    return Verdict(Outcome.NOT_APPLICABLE, reason)
