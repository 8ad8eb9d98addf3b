"""A comparison of two runs in text and in Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.claims.differences import ALPHA
from lazarus_probe.claims.record import named_seeds
from lazarus_probe.reports.versions.compare import Comparison, Line
from lazarus_probe.reports.versions.sides import Side
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.tables import Table, terminal_width, wrapped
from lazarus_probe.untrusted import markdown, visible

HEADINGS = ("", "claim", "model", "then", "now", "difference", "tokens")
NOTE = (
    "Differences are now less then, with a 95% interval: over the units of the prompts where both sides measured the "
    "same ones, else that of two independent estimates."
)


def comparison_text(comparison: Comparison) -> str:
    """The comparison in aligned columns.

    Example:
        >>> from lazarus_probe.reports import compare_runs, comparison_text, read_side
        >>> comparison = compare_runs(read_side("before"), read_side("after"))
        >>> print(comparison_text(comparison).splitlines()[-1])
        unchanged: 3
    """
    room = terminal_width()
    notes = [*map(_in_a_cell, comparison.remarks), *_corrected(comparison), *_counts(comparison)]
    if room is not None:
        notes = [part for note in notes for part in wrapped(note, room)]
    lines = [*map(_in_a_cell, _sides(comparison)), "", *_table(comparison, room), "", *notes]
    return "\n".join(lines) + "\n"


def _table(comparison: Comparison, room: int | None) -> list[str]:
    """The lines of what changed; a single model is not named again.

    Where there is not enough room tokens are left out, and the names of the claims stand first, so that the columns
    below have them beside them.
    """
    rows = [tuple(map(_in_a_cell, _row(line))) for line in comparison.lines]
    filled = [column for column in range(len(HEADINGS)) if any(row[column] for row in rows)]
    if len({line.model for line in comparison.lines}) == 1:
        filled.remove(HEADINGS.index("model"))

    def table(columns: Sequence[int]) -> Table:
        return Table(
            [HEADINGS[column] for column in columns], [[row[column] for column in columns] for row in rows]
        )

    whole = table(filled)
    if room is None or max(map(len, whole.lines())) <= room:
        return whole.lines()
    claim = HEADINGS.index("claim")
    rest = [column for column in filled if HEADINGS[column] not in ("claim", "tokens")]
    return table([claim, *rest]).fitted(width=room)


def _in_a_cell(text: str) -> str:
    """A text of a report's as one line for a terminal, in which nothing is a sequence for it."""
    return visible(text.replace("\n", "\\n"))


def comparison_markdown(comparison: Comparison) -> str:
    """The comparison as Markdown, as for `$GITHUB_STEP_SUMMARY`; what is unchanged is counted, not listed."""
    lines = ["# Claims, then and now", "", *(f"- {markdown(side)}" for side in _sides(comparison)), ""]
    if listed := [line for line in comparison.lines if line.group != "unchanged"]:
        lines += [*Table(HEADINGS, [_row(line) for line in listed]).markdown(markdown), "", NOTE, ""]
    lines += [f"- {markdown(remark)}" for remark in (*comparison.remarks, *_corrected(comparison))]
    return "\n".join([*lines, "", *_counts(comparison)]) + "\n"


def _sides(comparison: Comparison) -> list[str]:
    return [f"then: {_side(comparison.old)}", f"now:  {_side(comparison.new)}"]


def _side(side: Side) -> str:
    models = ", ".join(f"{name} ({fingerprint[:12]})" for name, fingerprint in sorted(side.models.items()))
    return f"{side.name}: {models or 'no verdicts'}, {named_seeds(side.seeds)}"


def _row(line: Line) -> tuple[str, ...]:
    if line.error:
        return line.group, line.claim, line.model, _verdict(line.old), line.error, "", ""
    then, now = line.old, line.new
    difference = then.difference if then and now else None
    moved = f"{difference.score:+.2f} [{difference.low:+.2f}, {difference.high:+.2f}]" if difference else ""
    return line.group, line.claim, line.model, _verdict(then), _verdict(now), moved, _tokens(then, now)


def _verdict(record: BaselineRecord | None) -> str:
    if record is None or record.score is None or record.low is None or record.high is None:
        return str(record.outcome) if record else ""
    return f"{record.outcome} {estimate(record.score, record.low, record.high)}"


def _tokens(then: BaselineRecord | None, now: BaselineRecord | None) -> str:
    counts = [
        "-" if record is None or record.tokens is None else str(record.tokens) for record in (then, now)
    ]
    return " -> ".join(dict.fromkeys(counts)) if set(counts) != {"-"} else ""


def _corrected(comparison: Comparison) -> list[str]:
    """Over how many lines a difference had to hold."""
    if not comparison.compared:
        return []
    return [
        f"scores compared: {comparison.compared}; an effect has moved where its difference survives Benjamini-Hochberg "
        f"over all of them at {ALPHA:g}"
    ]


def _counts(comparison: Comparison) -> list[str]:
    return [", ".join(f"{group}: {number}" for group, number in comparison.counts.items()) or "no claims"]
