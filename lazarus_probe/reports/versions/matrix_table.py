"""A matrix of claims by versions in text and in Markdown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lazarus_probe.claims.baseline_record import BaselineRecord, with_interval
from lazarus_probe.claims.differences import ALPHA
from lazarus_probe.claims.record import named_seeds
from lazarus_probe.reports.versions.matrix import Cell, Direction, Matrix, Row
from lazarus_probe.statistics.intervals import shown
from lazarus_probe.tables import Table, wrapped
from lazarus_probe.untrusted import in_line, markdown

Style = Callable[[str, str], str]  # a text and its verdict, to the text as a terminal colours it

MARKS: dict[Direction, str] = {
    "up": "▲", "down": "▼", "rose": "↑", "fell": "↓", "otherwise": "≠", "broken": "!", "": " ",
}  # fmt: skip
MEANING = (
    "▲ ▼ the verdict went up or down since the version before, ↑ ↓ the same verdict and a score that moved, "
    "≠ declared otherwise, ! the test broke, · not in this version"
)
WORDS: dict[Direction, str] = {
    "up": "the verdict went up",
    "down": "the verdict went down",
    "rose": "the score rose",
    "fell": "the score fell",
    "otherwise": "declared otherwise",
    "broken": "the test broke",
}
SHORT = {
    "supported": "sup",
    "refuted": "ref",
    "confounded": "con",
    "inconclusive": "inc",
    "not applicable": "n/a",
}
GLYPHS = {"supported": "✓", "refuted": "✕", "confounded": "≈", "inconclusive": "?", "not applicable": "-"}
GLYPHS_MEAN = ", ".join(f"{glyph} {outcome}" for outcome, glyph in GLYPHS.items())
BARS = "▁▂▃▄▅▆▇█"
ABSENT, BROKE = "·", "broke"
LEAST_NAME, MOST_NAME = 20, 48  # columns of a claim's name
EFFECT = "effect"
GAP = 2


@dataclass(frozen=True)
class Layout:
    """How much of each version there is room for.

    Attributes:
        cell: what stands for a cell.
        gap: columns between two cells.
        first: index of the first version that is shown; older ones are left out where all else is not enough.
        name: columns of a claim's name.
    """

    cell: Callable[[Cell], str]
    gap: int
    first: int
    name: int


def matrix_text(matrix: Matrix, width: int = 80, style: Style = lambda text, _: text) -> str:
    """The matrix in aligned columns that fit the width, as far as two versions do.

    Where there is not enough room verdicts are abbreviated, then names of claims, and at last the first versions are
    left out.

    Args:
        matrix: to show.
        width: in columns.
        style: colours a cell by its verdict.
    """
    layout = _layout(matrix, width)
    lines = [_shortened(in_line(line), width) for line in _versions(matrix)]
    for model in matrix.models:
        rows = [row for row in matrix.rows if row.model == model]
        lines += ["", *([f"on {in_line(model)}"] if len(matrix.models) > 1 else [])]
        lines += _table(matrix, rows, layout, style)
    lines += ["", *(part for line in _notes(matrix, layout) for part in wrapped(in_line(line), width))]
    return "\n".join(lines) + "\n"


def matrix_markdown(matrix: Matrix) -> str:
    """The matrix as Markdown, as for `$GITHUB_STEP_SUMMARY`; claims that never changed are counted, not listed."""
    lines = ["# Claims by version", "", *(f"- {markdown(line)}" for line in _versions(matrix)), ""]
    numbers = [f"{index} {label}" for index, label in enumerate(matrix.labels, 1)]
    several = len(matrix.models) > 1
    listed = [row for row in matrix.rows if row.changed]
    if listed:
        rows = [
            [row.claim, *([row.model] if several else []), *map(_full, row.cells), sparkline(row.scores)]
            for row in listed
        ]
        headings = ["claim", *(["model"] if several else []), *numbers, "effect"]
        lines += [*Table(headings, rows).markdown(markdown), ""]
    lines += [f"- {markdown(line)}" for line in sentences(matrix)]
    unchanged = len(matrix.rows) - len(listed)
    return "\n".join([*lines, "", f"{MEANING}.", "", f"Claims that never changed: {unchanged}."]) + "\n"


def sparkline(scores: Sequence[float | None]) -> str:
    """A character for each score, from 0 to 1 or as far as they go beyond; `·` where there is none."""
    there = [score for score in scores if score is not None]
    low, high = min([0.0, *there]), max([1.0, *there])
    steps = len(BARS) - 1
    return "".join(
        ABSENT if score is None else BARS[round(steps * (score - low) / (high - low))] for score in scores
    )


def _layout(matrix: Matrix, width: int) -> Layout:
    """The fullest layout in which names of claims keep half of what they need, and the least of them some columns."""
    longest = min(max([len("claim"), *(len(in_line(row.claim)) for row in matrix.rows)]), MOST_NAME)
    count = len(matrix.versions)
    for first in range(max(count - 1, 1)):
        for cell, gap in ((_wide, GAP), (_medium, GAP), (_narrow, 1)):
            columns = sum(_column(matrix, cell, index) + gap for index in range(first, count))
            room = width - columns - gap - max(count - first, len(EFFECT))
            if room >= min(longest, LEAST_NAME if cell is _narrow else (longest + LEAST_NAME) // 2):
                return Layout(cell, gap, first, min(longest, room))
    return Layout(_narrow, 1, max(count - 2, 0), min(longest, LEAST_NAME))


def _column(matrix: Matrix, cell: Callable[[Cell], str], index: int) -> int:
    return max([2, len(str(index + 1)), *(len(cell(row.cells[index])) for row in matrix.rows)])


def _table(matrix: Matrix, rows: Sequence[Row], layout: Layout, style: Style) -> list[str]:
    indices = range(layout.first, len(matrix.versions))
    widths = {index: _column(matrix, layout.cell, index) for index in indices}
    heads = [_heading(matrix, index, widths[index]).ljust(widths[index]) for index in indices]
    lines = [_joined(["claim".ljust(layout.name), *heads, EFFECT], layout.gap)]
    for row in rows:
        cells = [
            style(layout.cell(row.cells[index]).ljust(widths[index]), _verdict(row.cells[index]))
            for index in indices
        ]
        name = _shortened(in_line(row.claim), layout.name).ljust(layout.name)
        lines.append(_joined([name, *cells, sparkline(row.scores[layout.first :])], layout.gap))
    return lines


def _joined(cells: Sequence[str], gap: int) -> str:
    return (" " * gap).join(cells).rstrip()


def _heading(matrix: Matrix, index: int, width: int) -> str:
    """A version's number below the mark's column, and its name where all of it fits."""
    number, label = f"{index + 1:>2}", in_line(matrix.labels[index])
    return f"{number} {label}" if len(f"{number} {label}") <= width else number


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _verdict(cell: Cell) -> str:
    return str(cell.record.outcome) if cell.record else BROKE if cell.error else ""


def _wide(cell: Cell) -> str:
    return _marked(cell, lambda record: f"{record.outcome}{_score(record)}")


def _medium(cell: Cell) -> str:
    return _marked(cell, lambda record: f"{SHORT[record.outcome]}{_score(record)}")


def _narrow(cell: Cell) -> str:
    return _marked(cell, lambda record: GLYPHS[record.outcome])


def _marked(cell: Cell, words: Callable[[BaselineRecord], str]) -> str:
    if cell.record is None:
        return f"{MARKS['broken']}{BROKE}" if cell.error else f" {ABSENT}"
    return f"{MARKS[cell.direction]}{words(cell.record)}"


def _score(record: BaselineRecord) -> str:
    return "" if record.score is None else f" {shown(record.score)}"


def _full(cell: Cell) -> str:
    """A cell with its interval."""
    return _marked(cell, lambda record: f" {record.outcome}{_interval(record)}").strip()


def _interval(record: BaselineRecord) -> str:
    return with_interval(record.score, record.low, record.high) or _score(record)


def _versions(matrix: Matrix) -> list[str]:
    """A line for each version: its number, its label, and what it is; one run of several models is named once."""
    names = {side.name.removesuffix(".json") for side in matrix.versions}
    together = len(matrix.versions) > 1 and len(names) == 1
    lines = []
    for index, (side, label) in enumerate(zip(matrix.versions, matrix.labels, strict=True), 1):
        name, seeds = side.name.removesuffix(".json"), named_seeds(side.seeds)
        if [*side.models] == [label]:
            of = "" if together else f": {name}"
            lines.append(f"{index} {label} ({side.models[label][:12]}), {seeds}{of}")
            continue
        models = ", ".join(f"{model} ({fingerprint[:12]})" for model, fingerprint in side.models.items())
        lines.append(f"{index} {label}: {models or 'no verdicts'}, {seeds}")
    return [*lines, f"all of {names.pop()}"] if together else lines


def sentences(matrix: Matrix) -> list[str]:
    """What changed from one version to the next, over how much it was corrected, and what else to know."""
    lines = []
    for index, counts in enumerate(matrix.steps, 1):
        counted = ", ".join(f"{number} {group}" for group, number in counts.items())
        lines.append(f"{index} to {index + 1}: {counted or 'no claim is in both'}")
    if matrix.compared:
        lines.append(
            f"scores compared: {matrix.compared} of neighbouring versions; an effect has moved where its difference "
            f"survives Benjamini-Hochberg over all of them at {ALPHA:g}"
        )
    return [*lines, *matrix.remarks]


def _notes(matrix: Matrix, layout: Layout) -> list[str]:
    legend = MEANING if layout.cell is not _narrow else f"{GLYPHS_MEAN}; {MEANING}"
    left_out = f"versions 1 to {layout.first} are left out: widen the terminal, or see --markdown, --output or --json"
    return [f"{legend}; effect from 0 to 1", *([left_out] if layout.first else []), *sentences(matrix)]
