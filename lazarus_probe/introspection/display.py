"""Results as HTML, for notebooks: tables that fold, with what lies behind a cell under the pointer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Attributes:
        text: what it shows.
        hint: what the pointer brings up.
        shade: from 0 for none to 1 for full; negative shades are of another colour.
    """

    text: str
    hint: str = ""
    shade: float = 0.0


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], folded: bool = False) -> str:
    """A table under a title that opens and folds it; every text is escaped.

    Args:
        title: what stands above it.
        columns: headings.
        rows: cells: a `Cell`, or anything that is shown as its text.
        folded: whether it starts closed.
    """
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    state = "" if folded else " open"
    return (
        f"<details{state}><summary>{escape(title)}</summary>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
    )


def _cell(value: object) -> str:
    cell = value if isinstance(value, Cell) else Cell(str(value))
    hint = f' title="{escape(cell.hint)}"' if cell.hint else ""
    # Half transparent, so that it reads on light and on dark pages.
    colour = "66, 133, 244" if cell.shade >= 0 else "219, 68, 55"
    shade = min(abs(cell.shade), 1.0)
    style = f' style="background: rgba({colour}, {shade:.2f})"' if shade else ""
    return f"<td{hint}{style}>{escape(cell.text)}</td>"
