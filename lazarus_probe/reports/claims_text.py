"""The table of claims in a terminal: as wide as that is, verdicts in colour, statements where there is room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.reports.summary import claims_table
from lazarus_probe.untrusted import in_line

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord

Style = Callable[[str, str], str]  # a text and its verdict, to the text as a terminal colours it

GAP = 2
ROOMY_CLAIM, LEAST_CLAIM, LEAST_STATEMENT = 24, 12, 40  # columns


def claims_lines(
    records: Sequence[ClaimRecord], width: int | None = None, style: Style = lambda text, _: text
) -> list[str]:
    """The table of claims, fitted to a width.

    Where there is not enough room the model is left out, if all claims are of one, and the best control; a claim whose
    name is longer than its column has a line of its own. Where there is more, statements are next to the numbers.

    Args:
        records: of a run.
        width: in columns; None: as wide as it needs to be, without statements.
        style: colours a verdict.
    """
    table = claims_table(records)
    columns = {
        heading: [in_line(text) for text in (heading, *texts)]
        for heading, texts in zip(table.headings, zip(*table.texts, strict=True), strict=True)
    }
    one_model = len({record.model.name for record in records}) == 1
    if width is not None:
        for name in (*(["model"] if one_model else []), "best control", "stable in"):
            if _width(columns, ROOMY_CLAIM if name != "model" else None) > width:
                columns.pop(name, None)
        if (room := width - _width(columns) - GAP) >= LEAST_STATEMENT:
            columns["statement"] = [
                "statement",
                *(_clipped(record.claim.statement, room) for record in records),
            ]
    (_, names), *others = columns.items()
    first = max(map(len, names))
    if width is not None:
        first = min(first, max(width - _width(dict(others)) - GAP, LEAST_CLAIM))
    outcomes = ["", *(str(record.outcome) for record in records)]
    lines = []
    for index, (name, outcome) in enumerate(zip(names, outcomes, strict=True)):
        cells = [_cell(heading, texts, index, outcome, style) for heading, texts in others]
        hanging = len(name) > first
        lines += [name] if hanging else []
        lines.append((" " * GAP).join([("" if hanging else name).ljust(first), *cells]).rstrip())
    return lines


def _cell(heading: str, texts: Sequence[str], index: int, outcome: str, style: Style) -> str:
    padded = texts[index].ljust(max(map(len, texts)))
    return style(padded, outcome) if heading == "verdict" and outcome else padded


def _width(columns: dict[str, list[str]], most_of_first: int | None = None) -> int:
    """What columns take with the gaps between them; of the first one no more than said."""
    widths = [max(map(len, texts)) for texts in columns.values()]
    if most_of_first is not None:
        widths[0] = min(widths[0], most_of_first)
    return sum(widths) + GAP * (len(widths) - 1)


def _clipped(text: str, room: int) -> str:
    text = in_line(text)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def counts_line(records: Sequence[ClaimRecord], style: Style = lambda text, _: text) -> str:
    """How many claims came to which verdict, as in `3 verdicts: 2 supported, 1 refuted`."""
    counted = Counter(record.outcome for record in records)
    parts = [style(f"{counted[outcome]} {outcome}", str(outcome)) for outcome in Outcome if counted[outcome]]
    return f"{len(records)} {'verdict' if len(records) == 1 else 'verdicts'}: {', '.join(parts)}"
