"""The verdicts of a run that tell most, for its first screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, zip_longest
from typing import TYPE_CHECKING

from lazarus_probe.claims.claim import POSITIVE
from lazarus_probe.claims.verdict import Outcome

if TYPE_CHECKING:
    from lazarus_probe.reports.sections import Row

MOST = 5


def most_telling(rows: Sequence[Row], most: int = MOST) -> list[Row]:
    """The records to read first, one a claim: changed ones, and then by turns supported, confounded and refuted ones.

    Of the supported those that gain most beyond their margin come first; of the confounded those whose score alone is
    furthest past the threshold, for they would have been published; of the refuted those furthest from it. Inconclusive
    ones tell nothing yet.
    """
    changed = [row for row in rows if row.record.changed]
    orders: tuple[tuple[Outcome, Callable[[Row], float]], ...] = (
        (Outcome.SUPPORTED, _gain),
        (Outcome.CONFOUNDED, _past),
        (Outcome.REFUTED, lambda row: -_past(row)),
    )
    by_outcome = [
        sorted((row for row in rows if row.record.outcome == outcome and row.found), key=order, reverse=True)
        for outcome, order in orders
    ]
    by_claim: dict[str, Row] = {}
    for row in (*changed, *filter(None, chain.from_iterable(zip_longest(*by_outcome)))):
        by_claim.setdefault(row.of, row)
    return list(by_claim.values())[:most]


def _gain(row: Row) -> float:
    """By how much the least gain over a control exceeds the margin."""
    controls = row.found.controls if row.found else []
    return min((control.gain for control in controls), default=0.0) - row.record.claim.margin


def _past(row: Row) -> float:
    """By how much the score is past the threshold, on the side that the claim wants."""
    if row.found is None:
        return 0.0
    claim, score = row.record.claim, row.found.score
    score = abs(score) if claim.kind == "invariance" else score
    return claim.threshold - score if claim.kind in POSITIVE else score - claim.threshold
