"""Which way a verdict changed since a baseline or another run."""

from __future__ import annotations

import re
from typing import Literal, get_args

from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.spelling import nearest

Change = Literal["lost", "weakened", "no longer measurable", "gained", "newly measurable"]
CHANGES: tuple[Change, ...] = get_args(Change)
# A claim that can no longer be tested is no better than one that was lost: nobody would know.
WORSE: frozenset[Change] = frozenset({"lost", "weakened", "no longer measurable"})
_SUPPORT = (Outcome.REFUTED, Outcome.CONFOUNDED, Outcome.INCONCLUSIVE, Outcome.SUPPORTED)


def change_of(before: Outcome, now: Outcome) -> Change | None:
    """What became of a claim; None where its verdict is the same.

    From and to `not applicable` it is newly, or no longer, measurable. Else it was lost where it was supported and is
    refuted or confounded; it gained, or weakened, where it went up or down among supported, inconclusive, confounded
    and refuted, in this order.
    """
    if before == now:
        return None
    if Outcome.NOT_APPLICABLE in (before, now):
        return "no longer measurable" if now == Outcome.NOT_APPLICABLE else "newly measurable"
    if _SUPPORT.index(now) > _SUPPORT.index(before):
        return "gained"
    return "lost" if before == Outcome.SUPPORTED and now != Outcome.INCONCLUSIVE else "weakened"


def read_changes(text: str, option: str) -> frozenset[Change]:
    """The changes that a text names, as in `lost,weakened`; `any` alone is all of them, `none` alone is none.

    Case does not matter, nor whether words are joined by `-`, `_` or a space.

    Raises:
        ValueError: a name that is none of theirs; names the option.
    """
    by_name = {change.replace(" ", "-"): change for change in CHANGES}
    names = [re.sub(r"[\s_-]+", "-", name.strip().lower()) for name in text.split(",")]
    if names in (["any"], ["none"]):
        return frozenset(CHANGES if names == ["any"] else ())
    if alone := [name for name in names if name in ("any", "none")]:
        raise ValueError(
            f"{option} {text!r} has {alone[0]} with others: give it alone, or some of the others"
        )
    if unknown := [name for name in names if name not in by_name]:
        close = nearest(unknown[0], ["any", "none", *by_name])
        guess = f"did you mean {close}? " if close else ""
        raise ValueError(
            f"{option} {unknown[0]!r} is unknown; {guess}give any, none, or some of {', '.join(by_name)}"
        )
    return frozenset(by_name[name] for name in names)


def written(changes: frozenset[Change]) -> str:
    """Changes as an option takes them."""
    return ",".join(change.replace(" ", "-") for change in CHANGES if change in changes) or "none"
