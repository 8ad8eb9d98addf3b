"""The table of claims: for the terminal, and for `summary.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.claims.record import ClaimRecord, ControlRecord, ModelRecord
from lazarus_probe.reports.untrusted import markdown
from lazarus_probe.statistics.intervals import Interval, shown

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run

HEADINGS = ("claim", "model", "verdict", "effect", "interval", "best control")


def table_rows(records: Sequence[ClaimRecord]) -> list[tuple[str, ...]]:
    """A row a record: claim, model, verdict (`!` where it changed), effect, interval, best control."""
    return [_row(record) for record in records]


def _row(record: ClaimRecord) -> tuple[str, ...]:
    verdict = f"{record.outcome}!" if record.changed else str(record.outcome)
    found = record.measurement
    if found is None:
        return record.key, record.model.name, verdict, "", "", ""
    best = min(found.controls, key=lambda control: control.gain)
    interval = str(Interval(found.low, found.high))
    return record.key, record.model.name, verdict, shown(found.score), interval, _control(best)


def _control(control: ControlRecord) -> str:
    return f"{control.name} {shown(control.score)}"


def text_table(records: Sequence[ClaimRecord]) -> list[str]:
    """The table in aligned columns, one string a line."""
    rows = [HEADINGS, *table_rows(records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def summary_markdown(run: Run) -> str:
    """What ran, the table, each verdict's reason, the families and what broke, as Markdown."""
    lines = [f"# Claims, run {run.run}", ""]
    if run.partial:
        lines += ["**Partial run**: it was cut short, or claims were left out of it.", ""]
    lines += [f"Seed {run.seed}, device {run.environment.device}, BLAS {markdown(run.environment.blas)}.", ""]
    lines += [*_models(record.model for record in run.claims), ""]
    lines += [_markdown_row([*HEADINGS, "q"]), _markdown_row(["---"] * (len(HEADINGS) + 1))]
    lines += [
        _markdown_row([*row, "" if record.q is None else f"{record.q:.3f}"])
        for row, record in zip(table_rows(run.claims), run.claims, strict=True)
    ]
    lines += ["", "## Why", ""]
    lines += [f"- {markdown(record.sentence)}" for record in run.claims]
    lines += _section("Families", [family.sentence for family in run.families])
    lines += _section("Broken tests", [f"{each.test}: {each.error}" for each in run.broken])
    return "\n".join(lines) + "\n"


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return ["", f"## {title}", "", *(f"- {markdown(each)}" for each in sentences)] if sentences else []


def _models(models: Iterable[ModelRecord]) -> list[str]:
    return [
        f"- {markdown(model.name)}: {model.num_layers} layers, {model.dtype}, {model.fingerprint[:12]}"
        for model in {model.name: model for model in models}.values()
    ]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"
