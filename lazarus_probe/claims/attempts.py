"""A case that ran several times in one run, by pytest-rerunfailures, pytest-repeat or several workers: one record.

The last attempt is the record, and all of them are kept with it. A case whose verdict changed from one attempt to
another, on the same model with the same seed, shows nothing but that: it is inconclusive.
"""

from __future__ import annotations

from collections.abc import Sequence

from lazarus_probe.claims.attempt_record import AttemptRecord, Broken
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.claims.verdict import Outcome


def merged_attempts(attempts: Sequence[ClaimRecord | Broken]) -> tuple[list[ClaimRecord], list[Broken]]:
    """One record for each case, and the cases whose last attempt broke.

    Args:
        attempts: all of a run, in the order in which they ended.

    Returns:
        The records in the order of the report, and what broke, by test. A case that gave a verdict and broke
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
    records = [record for case in cases.values() if (record := _record(case))]
    broken = [last for case in cases.values() if isinstance(last := case[-1], Broken)]
    return sorted(records, key=lambda record: record.order), sorted(broken, key=lambda attempt: attempt.test)


def case_of(attempt: ClaimRecord | Broken) -> tuple[str, str]:
    """What an attempt is at: the claim with its parameters, and the model; a worker that died names its test alone."""
    if isinstance(attempt, Broken):
        return attempt.claim or attempt.test, attempt.model
    return attempt.key, attempt.model.name


def _attempt_record(attempt: ClaimRecord | Broken) -> AttemptRecord:
    if isinstance(attempt, Broken):
        return AttemptRecord(test=attempt.test, outcome=None, reason=attempt.error)
    measured = attempt.measurement
    ends = {"score": measured.score, "low": measured.low, "high": measured.high} if measured else {}
    return AttemptRecord(test=attempt.test, outcome=attempt.alone, reason=attempt.reason, **ends)


def _record(attempts: Sequence[ClaimRecord | Broken]) -> ClaimRecord | None:
    judged = [attempt for attempt in attempts if not isinstance(attempt, Broken)]
    if not judged or len(attempts) == 1:
        return judged[-1] if judged else None
    all_of_them = [_attempt_record(attempt) for attempt in attempts]
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
