"""A case that ran several times in one run, by pytest-rerunfailures, pytest-repeat or several workers: one record.

The last attempt is the record, and all of them are kept beside it. A case whose verdict changed from one attempt to
another, on the same model with the same seed, shows nothing but that: it is inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from lazarus_probe.claims.known import with_interval
from lazarus_probe.claims.verdict import Outcome

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord


class Broken(BaseModel):
    """A claim's test that came to no verdict, because something raised.

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

    @classmethod
    def of(cls, attempt: ClaimRecord | Broken) -> AttemptRecord:
        """As a report keeps it."""
        if isinstance(attempt, Broken):
            return cls(test=attempt.test, outcome=None, reason=attempt.error)
        found = attempt.measurement
        ends = {"score": found.score, "low": found.low, "high": found.high} if found else {}
        return cls(test=attempt.test, outcome=attempt.alone, reason=attempt.reason, **ends)

    def __str__(self) -> str:
        return f"{self.outcome or 'broken'}{with_interval(self.score, self.low, self.high)}"


def settled(attempts: Sequence[ClaimRecord | Broken]) -> tuple[list[ClaimRecord], list[Broken]]:
    """One record for each case, and the cases whose last attempt broke.

    Args:
        attempts: all of a run, in the order in which they ended.

    Returns:
        The records in the order of the report, and what broke, by test. A case that came to a verdict and broke
        later stands among both.
    """
    cases: dict[tuple[str, str], list[ClaimRecord | Broken]] = {}
    models = {case_of(attempt) for attempt in attempts if not isinstance(attempt, Broken)}
    for attempt in attempts:
        claim, model = case_of(attempt)
        others = [name for key, name in models if key == claim]
        # A test that broke before it had its model is an attempt at the one that it has the next time.
        case = (claim, others[0]) if not model and len(others) == 1 else (claim, model)
        cases.setdefault(case, []).append(attempt)
    records = [record for each in cases.values() if (record := _record(each))]
    broken = [last for each in cases.values() if isinstance(last := each[-1], Broken)]
    return sorted(records, key=lambda record: record.order), sorted(broken, key=lambda each: each.test)


def case_of(attempt: ClaimRecord | Broken) -> tuple[str, str]:
    """What an attempt is at: the claim with its parameters, and the model; a worker that died names its test alone."""
    if isinstance(attempt, Broken):
        return attempt.claim or attempt.test, attempt.model
    return attempt.key, attempt.model.name


def _record(attempts: Sequence[ClaimRecord | Broken]) -> ClaimRecord | None:
    judged = [attempt for attempt in attempts if not isinstance(attempt, Broken)]
    if not judged or len(attempts) == 1:
        return judged[-1] if judged else None
    all_of_them = [AttemptRecord.of(attempt) for attempt in attempts]
    last = judged[-1].model_copy(update={"attempts": all_of_them})
    broke_at_last = isinstance(attempts[-1], Broken)
    one_verdict = len({attempt.alone for attempt in judged}) == 1
    return last if one_verdict and not broke_at_last else _flaky(last, judged)


def _flaky(last: ClaimRecord, judged: Sequence[ClaimRecord]) -> ClaimRecord:
    """The last verdict as one that its case did not keep to.

    In the family it counts with the largest p of all attempts: one that came out well by chance must help no other.
    """
    verdicts = ", then ".join(map(str, last.attempts))
    fields = {
        name: None if None in values else max(values)
        for name in ("p", "p_refuted")
        if (values := [getattr(attempt, name) for attempt in judged])
    }
    reason = f"flaky: within one run it came out {verdicts}; at last: {last.reason}"
    return last.model_copy(
        update={**fields, "outcome": Outcome.INCONCLUSIVE, "alone": Outcome.INCONCLUSIVE, "reason": reason}
    )
