"""How far scores moved since a baseline or another run, and which of the differences are more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from lazarus_probe.claims.baseline_record import BaselineRecord, Difference
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement.group_scores import paired_difference
from lazarus_probe.statistics.multiplicity import benjamini_hochberg
from lazarus_probe.statistics.power import implied_p

ALPHA = 0.05
# Of a paired difference: on the same prompts float16 or 8-bit weights move a score by less, and that is surely there.
LEAST = 0.02
Line = TypeVar("Line", BaselineRecord, BaselineRecord | None)


def difference(now: BaselineRecord, before: BaselineRecord) -> Difference | None:
    """The difference of two scores, judged by itself; None where one of them was not measured.

    Where both measured the same units of prompts they are paired.
    """
    if paired := paired_difference(now.group_scores, before.group_scores):
        score, interval, p = paired
        real = _real(score, p, paired=True)
        return Difference(score=score, low=interval.low, high=interval.high, p=p, q=p, paired=True, real=real)
    new, old = _interval(now), _interval(before)
    if new is None or old is None or now.score is None or before.score is None:
        return None
    gap = difference_interval(now.score, new, before.score, old)
    score = now.score - before.score
    p = _p(score, gap)
    return Difference(score=score, low=gap.low, high=gap.high, p=p, q=p, real=p <= ALPHA)


def _real(score: float, q: float, *, paired: bool) -> bool:
    """Whether a difference is more than chance, and a paired one large enough."""
    return q <= ALPHA and (not paired or abs(score) >= LEAST)


def corrected(records: Sequence[Line]) -> list[Line]:
    """What was known of the claims of a whole comparison, with each difference judged among all of them.

    Real is what Benjamini-Hochberg over all lines that have a difference leaves at `ALPHA` (Benjamini & Hochberg 1995):
    where nothing moved, at most that share of comparisons shows any.

    Args:
        records: every line of the comparison, in any order, over all models.
    """
    p_values = {
        str(i): record.difference.p for i, record in enumerate(records) if record and record.difference
    }
    if not p_values:
        return list(records)
    q = benjamini_hochberg(p_values, list(p_values)).q
    return [_among(record, q.get(str(i)), len(q)) for i, record in enumerate(records)]


def _among(record: Line, q: float | None, lines: int) -> Line:
    if record is None or record.difference is None or q is None:
        return record
    real = _real(record.difference.score, q, paired=record.difference.paired)
    moved = record.difference.model_copy(update={"q": q, "real": real, "lines": lines})
    return record.model_copy(update={"difference": moved})


def _p(gap: float, interval: Interval) -> float:
    """The two-sided p of a difference from 0, read off its interval: `ALPHA` where an end of that lies on 0."""
    if gap == 0:
        return 1.0
    low, high = (interval.low, interval.high) if gap > 0 else (-interval.high, -interval.low)
    return min(1.0, 2 * implied_p(abs(gap), low, high, 0.0, interval.level))


def _interval(record: BaselineRecord) -> Interval | None:
    """The interval of a score; it is kept rounded, and a file may be written by hand: it holds the score."""
    if record.score is None or record.low is None or record.high is None:
        return None
    return Interval(min(record.low, record.score), max(record.high, record.score))
