"""Tables of results: declared once, rendered as text, HTML, Markdown and JSON."""

from __future__ import annotations

import math
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from lazarus_probe.plain import json_values

UNDEFINED = "-"
LEAST_TEXT = 16  # columns that a column of texts keeps when it is wrapped


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: heading.
        format: format specification of the numbers in it, as in `.4f`.
        width: least number of characters, in text.
        right: whether it is aligned right, in text.
    """

    name: str
    format: str = ""
    width: int = 0
    right: bool = False


@dataclass(frozen=True)
class Cell:
    """A value with what only HTML shows of it.

    Attributes:
        value: number or text.
        hint: tooltip.
        shade: from 0 for none to 1 for full; negative shades have another colour.
    """

    value: object
    hint: str = ""
    shade: float = 0.0


@dataclass(frozen=True)
class Table:
    """Rows of values under columns; None and NaN are undefined values.

    Attributes:
        columns: each with its format, or as a heading alone.
        rows: values, one a column; a `Cell` where HTML shows more than the value.
        title: shown above the table in HTML.
    """

    columns: Sequence[Column | str]
    rows: Sequence[Sequence[object]]
    title: str = ""

    @property
    def headings(self) -> list[str]:
        """The names of the columns."""
        return [column.name for column in self._columns]

    @property
    def texts(self) -> list[list[str]]:
        """Every value as text, formatted by its column; `-` where it is undefined."""
        return [
            [_text(_value(cell), column.format) for column, cell in zip(self._columns, row, strict=True)]
            for row in self.rows
        ]

    def lines(self, *, gap: int = 2, rule: bool = False) -> list[str]:
        """Aligned columns, one string a line.

        Args:
            gap: spaces between two columns.
            rule: whether a line of dashes is drawn below the headings.
        """
        rows, widths = [self.headings, *self.texts], self._widths()
        lines = [
            (" " * gap)
            .join(
                text.rjust(width) if column.right else text.ljust(width)
                for column, text, width in zip(self._columns, row, widths, strict=True)
            )
            .rstrip()
            for row in rows
        ]
        return [lines[0], "-" * max(map(len, lines)), *lines[1:]] if rule else lines

    def fitted(self, *, gap: int = 2, rule: bool = False, width: int | None = None) -> list[str]:
        """`lines` that fit a terminal: long texts are wrapped, and then columns follow below, beside the first again.

        Args:
            gap: spaces between two columns.
            rule: whether a line of dashes is drawn below the headings.
            width: in characters; by default that of the terminal, and any where output is none.
        """
        lines, room = self.lines(gap=gap, rule=rule), terminal_width() if width is None else width
        if room is None or max(map(len, lines)) <= room:
            return lines
        blocks = [block._wrapped(room, gap).lines(gap=gap, rule=rule) for block in self._blocks(room, gap)]
        return [line for index, block in enumerate(blocks) for line in ([""] if index else []) + block]

    def text(self, *, gap: int = 2, rule: bool = False) -> str:
        """`fitted` as one string."""
        return "\n".join(self.fitted(gap=gap, rule=rule))

    def _widths(self) -> list[int]:
        rows = [self.headings, *self.texts]
        return [
            max(column.width, *map(len, texts))
            for column, texts in zip(self._columns, zip(*rows, strict=True), strict=True)
        ]

    def _widest(self) -> int | None:
        """The index of the widest column of texts, if there is one."""
        widths = self._widths()
        texts = [index for index, column in enumerate(self._columns) if not (column.format or column.right)]
        return max(texts, key=lambda index: widths[index], default=None)

    def _wrapped(self, room: int, gap: int) -> Table:
        """A column of texts made as narrow as needed, on as many lines as that takes.

        The widest of sentences if that is enough, so that names stay whole; else the widest of all.
        """
        widths, widest = self._widths(), self._widest()
        over = sum(widths) + gap * (len(widths) - 1) - room
        sentences = [
            index
            for index, column in enumerate(self._columns)
            if not (column.format or column.right)
            and widths[index] - over >= LEAST_TEXT
            and any(" " in row[index] for row in self.texts)
        ]
        widest = max(sentences, key=lambda index: widths[index], default=widest)
        if widest is None:
            return self
        width = max(room - (sum(widths) - widths[widest] + gap * (len(widths) - 1)), LEAST_TEXT)
        if widths[widest] <= width:
            return self
        rows: list[Sequence[object]] = []
        for row in self.texts:
            parts = textwrap.wrap(row[widest], width, break_on_hyphens=False) or [""]
            for number, part in enumerate(parts):
                rest = row if number == 0 else [""] * len(row)
                rows.append([part if index == widest else text for index, text in enumerate(rest)])
        plain = [
            Column(column.name, width=0 if index == widest else column.width, right=column.right)
            for index, column in enumerate(self._columns)
        ]
        return Table(plain, rows, self.title)

    def _blocks(self, room: int, gap: int) -> Iterator[Table]:
        """Tables of some of the columns each, which fit as far as two columns do; the first stands in all of them."""
        widths, widest, block = self._widths(), self._widest(), [0]
        if widest is not None:
            breaks = any(" " in row[widest] for row in self.texts)  # a name that has no space is kept whole
            widths[widest] = min(widths[widest], LEAST_TEXT if breaks else max(LEAST_TEXT, room // 2))
        for index in range(1, len(widths)):
            if len(block) > 1 and sum(widths[at] + gap for at in block) + widths[index] > room:
                yield self._only(block)
                block = [0]
            block.append(index)
        yield self._only(block)

    def _only(self, columns: Sequence[int]) -> Table:
        rows = [[row[index] for index in columns] for row in self.rows]
        return Table([self.columns[index] for index in columns], rows, self.title)

    def html(self) -> str:
        """HTML for notebooks, every text escaped; a click on the title folds the table."""
        head = "".join(f"<th>{escape(name)}</th>" for name in self.headings)
        body = "".join(
            f"<tr>{''.join(map(_html, texts, row))}</tr>"
            for texts, row in zip(self.texts, self.rows, strict=True)
        )
        return (
            f"<details open><summary>{escape(self.title)}</summary>"
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></details>"
        )

    def markdown(self, escaped: Callable[[str], str]) -> list[str]:
        """A Markdown table, one string a line.

        Args:
            escaped: keeps a text from becoming markup.
        """
        rows = [[escaped(text) for text in row] for row in (self.headings, *self.texts)]
        rows.insert(1, ["---"] * len(self.columns))
        return [f"| {' | '.join(row)} |" for row in rows]

    def as_data(self) -> dict[str, Any]:
        """Plain data for JSON: unformatted values, None where one is undefined or infinite."""
        rows = [[_value(cell) for cell in row] for row in self.rows]
        return {"title": self.title, "headings": self.headings, "rows": json_values(rows)}

    @property
    def _columns(self) -> list[Column]:
        return [Column(column) if isinstance(column, str) else column for column in self.columns]


def wrapped(text: str, width: int) -> list[str]:
    """A sentence in lines of that width, of 40 columns at least; no word is broken."""
    return textwrap.wrap(text, max(width, 40), break_long_words=False, break_on_hyphens=False) or [""]


def terminal_width() -> int | None:
    """The columns of the terminal that is written to, or what `COLUMNS` says; None where there is neither."""
    if os.environ.get("COLUMNS") or (sys.stdout is not None and sys.stdout.isatty()):
        return shutil.get_terminal_size().columns
    return None


def _value(cell: object) -> object:
    return cell.value if isinstance(cell, Cell) else cell


def _text(value: object, format_: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return UNDEFINED
    return str(value) if isinstance(value, str) else f"{value:{format_}}" if format_ else str(value)


def _html(text: str, cell: object) -> str:
    if not isinstance(cell, Cell):
        return f"<td>{escape(text)}</td>"
    hint = f' title="{escape(cell.hint)}"' if cell.hint else ""
    # Half transparent, so that it reads on light and on dark pages.
    colour = "66, 133, 244" if cell.shade >= 0 else "219, 68, 55"
    shade = min(abs(cell.shade), 1.0)
    style = f' style="background: rgba({colour}, {shade:.2f})"' if shade else ""
    return f"<td{hint}{style}>{escape(text)}</td>"
