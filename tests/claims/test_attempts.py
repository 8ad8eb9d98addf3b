from __future__ import annotations

import pytest

from lazarus_probe.claims.attempt_record import Broken
from lazarus_probe.claims.attempts import merged_attempts
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.claims.verdict import Outcome


@pytest.fixture
def attempt(a_record):
    """Makes an attempt of a score at a claim, with a p."""

    def make(score: float, p: float = 0.001, outcome: str = "supported", **changes) -> ClaimRecord:
        fields = {
            "p": p,
            "p_refuted": 1 - p,
            "outcome": Outcome(outcome),
            "alone": Outcome(outcome),
            **changes,
        }
        return a_record(score, **fields)

    return make


BROKE = Broken(test="t", error="no", claim="c", model="tiny")


def test_one_attempt_is_the_record(attempt):
    """A case that ran once is kept as it came."""
    record = attempt(0.95)
    assert merged_attempts([record]) == ([record], [])
    assert merged_attempts([BROKE]) == ([], [BROKE])


def test_the_last_of_equal_attempts_is_the_record(attempt):
    """The same verdict three times is that verdict, with the last one's numbers and all three kept."""
    ((record,), broken) = merged_attempts([attempt(score) for score in (0.95, 0.96, 0.97)])
    assert (record.outcome, record.measurement.score, broken) == ("supported", 0.97, [])
    assert [each.score for each in record.attempts] == [0.95, 0.96, 0.97]


def test_a_changed_verdict_is_inconclusive(attempt):
    """Refuted and then supported is neither, and says both; its p is the worst of the two."""
    ((record,), _) = merged_attempts([attempt(0.5, 0.9, "refuted"), attempt(0.95, 0.001)])
    assert (record.outcome, record.alone, record.p, record.p_refuted) == (
        "inconclusive",
        "inconclusive",
        0.9,
        0.999,
    )
    assert record.reason.startswith(
        "flaky: within one run it came out refuted 0.50 [0.48, 0.52], then supported 0.95"
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_test_that_broke_and_came_to_a_verdict(attempt, order):
    """An attempt that broke before a verdict is kept beside it; one that broke after it leaves none that holds."""
    both = [BROKE, attempt(0.95)]
    records, broken = merged_attempts([both[i] for i in order])
    assert [each.outcome for each in records[0].attempts] == [[None, "supported"][i] for i in order]
    assert records[0].outcome == ("supported" if order == (0, 1) else "inconclusive")
    assert broken == ([] if order == (0, 1) else [BROKE])


def test_a_test_that_broke_without_its_model(attempt):
    """A test that broke before it had a model is an attempt at the one it has the next time."""
    records, broken = merged_attempts([BROKE.model_copy(update={"model": ""}), attempt(0.95)])
    assert (len(records), len(records[0].attempts), broken) == (1, 2, [])


def test_a_family_counts_cases(attempt):
    """Cases that ran three times are corrected as cases that ran once."""
    once = [attempt(0.95, 0.02, parameters=f"L{i}", family={"c": 3}) for i in range(3)]
    records, _ = merged_attempts([*once, *once, *once])
    (corrected, (family,)), (alone, _) = correct(records), correct(once)
    assert (family.size, family.tested) == (3, 3)
    assert [each.q for each in corrected] == [each.q for each in alone]
