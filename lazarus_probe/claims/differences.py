"""How far scores moved since a baseline or another run, and which of the differences are more than chance."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot
from typing import TypeVar

from lazarus_probe.claims.known import Difference, Known
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.multiplicity import benjamini_hochberg
from lazarus_probe.statistics.power import implied_p

ALPHA = 0.05
Line = TypeVar("Line", Known, Known | None)


def difference(now: Known, before: Known) -> Difference | None:
    """The difference of two scores, judged by itself; None where one of them was not measured."""
    new, old = _interval(now), _interval(before)
    if new is None or old is None or now.score is None or before.score is None:
        return None
    gap = difference_interval(now.score, new, before.score, old)
    score = now.score - before.score
    p = _p(score, gap, _degrees(now, before, upwards=score > 0))
    return Difference(score=score, low=gap.low, high=gap.high, p=p, q=p, real=p <= ALPHA)


def corrected(known: Sequence[Line]) -> list[Line]:
    """What was known of the claims of a whole comparison, with each difference judged among all of them.

    Real is what Benjamini-Hochberg over all lines that have a difference leaves at `ALPHA` (Benjamini & Hochberg 1995):
    where nothing moved, at most that share of comparisons shows any.

    Args:
        known: every line of the comparison, in any order, over all models.
    """
    p_values = {str(i): each.difference.p for i, each in enumerate(known) if each and each.difference}
    if not p_values:
        return list(known)
    q = benjamini_hochberg(p_values, list(p_values)).q
    return [_among(each, q.get(str(i)), len(q)) for i, each in enumerate(known)]


def _among(known: Line, q: float | None, lines: int) -> Line:
    if known is None or known.difference is None or q is None:
        return known
    moved = known.difference.model_copy(update={"q": q, "real": q <= ALPHA, "lines": lines})
    return known.model_copy(update={"difference": moved})


def _p(score: float, gap: Interval, degrees: float | None) -> float:
    """The two-sided p of a difference from 0, read off its interval: `ALPHA` where an end of that lies on 0.

    Among many lines it is small p that decide, and there the tails of an interval from few groups are Student's: read
    as normal ones, a comparison of 60 lines of 10 groups each would find something in 7% of cases where nothing moved.
    """
    if score == 0:
        return 1.0
    low, high = (gap.low, gap.high) if score > 0 else (-gap.high, -gap.low)
    normal = min(1.0, 2 * implied_p(abs(score), low, high, 0.0, gap.level))
    if degrees is None or low == abs(score):
        return normal
    from scipy.special import stdtr, stdtrit

    quantile = float(stdtrit(degrees, (1 + gap.level) / 2))
    return min(1.0, 2 * float(stdtr(degrees, -quantile * abs(score) / (abs(score) - low))))


def _degrees(now: Known, before: Known, *, upwards: bool) -> float | None:
    """The degrees of freedom of a difference of two means over groups (Welch 1947), from the ends that face 0.

    None where a baseline of an older version does not say how many groups there were.
    """
    if now.groups is None or before.groups is None or min(now.groups, before.groups) < 2:
        return None
    new, old = (_reach(now, down=upwards), _reach(before, down=not upwards))
    if hypot(new, old) == 0:
        return None
    return (new**2 + old**2) ** 2 / (new**4 / (now.groups - 1) + old**4 / (before.groups - 1))


def _reach(known: Known, *, down: bool) -> float:
    interval = _interval(known)
    if interval is None or known.score is None:
        return 0.0
    return known.score - interval.low if down else interval.high - known.score


def _interval(known: Known) -> Interval | None:
    """The interval of a score; it is kept rounded, and a file may be written by hand: it holds the score."""
    if known.score is None or known.low is None or known.high is None:
        return None
    return Interval(min(known.low, known.score), max(known.high, known.score))
