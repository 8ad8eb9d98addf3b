"""The table of claims: for the terminal, and for `summary.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.claims.record import ClaimRecord, ControlRecord, ModelRecord, named_seeds
from lazarus_probe.reports.untrusted import markdown
from lazarus_probe.statistics.intervals import Interval, shown

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run

HEADINGS = ("claim", "model", "verdict", "effect", "interval", "best control")
STABLE = "stable in"


def headings(records: Sequence[ClaimRecord]) -> tuple[str, ...]:
    """The columns; where seeds were pooled the last one says with how many of them alone the verdict is the same."""
    return (*HEADINGS, STABLE) if any(record.seeds for record in records) else HEADINGS


def table_rows(records: Sequence[ClaimRecord]) -> list[tuple[str, ...]]:
    """A row a record: claim, model, verdict (`!` where it changed), effect, interval, best control; see `headings`."""
    if STABLE not in headings(records):
        return [_row(record) for record in records]
    return [(*_row(record), _stable(record)) for record in records]


def _stable(record: ClaimRecord) -> str:
    return f"{record.stable} of {len(record.seeds)}" if record.seeds else ""


def _row(record: ClaimRecord) -> tuple[str, ...]:
    verdict = f"{record.outcome}!" if record.changed else str(record.outcome)
    measurement = record.measurement
    if measurement is None:
        return record.key, record.model.name, verdict, "", "", ""
    best = min(measurement.controls, key=lambda control: control.gain)
    interval = str(Interval(measurement.low, measurement.high))
    return record.key, record.model.name, verdict, shown(measurement.score), interval, _control(best)


def _control(control: ControlRecord) -> str:
    return f"{control.name} {shown(control.score)}"


def text_table(records: Sequence[ClaimRecord]) -> list[str]:
    """The table in aligned columns, one string a line."""
    rows = [headings(records), *table_rows(records)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def nothing_tested(records: Sequence[ClaimRecord]) -> list[str]:
    """A sentence for each model on which no claim could be tested: that nothing failed there means nothing."""
    outcomes: dict[str, list[str]] = {}
    for record in records:
        outcomes.setdefault(record.model.name, []).append(str(record.outcome))
    return [
        f"NOTHING WAS TESTED ON {model}: none of the {len(of_model)} claims applies to it"
        for model, of_model in outcomes.items()
        if set(of_model) == {"not applicable"}
    ]


def summary_markdown(run: Run) -> str:
    """What ran, the table, each verdict's reason, the families and what broke, as Markdown."""
    lines = [f"# Claims, run {markdown(run.run)}", ""]
    if run.partial:
        lines += [f"**{run.how_partial.capitalize()}**: it was cut short, or claims were left out of it.", ""]
    lines += [line for sentence in nothing_tested(run.claims) for line in (f"**{markdown(sentence)}**", "")]
    seeds, where = named_seeds(run.seeds).capitalize(), run.environment
    lines += [f"{seeds}, device {markdown(where.device)}, BLAS {markdown(where.blas)}.", ""]
    lines += [*_models(record.model for record in run.claims), ""]
    columns = [*headings(run.claims), "q"]
    lines += [_markdown_row(columns), _markdown_row(["---"] * len(columns))]
    lines += [
        _markdown_row([*row, "" if record.q is None else f"{record.q:.3f}"])
        for row, record in zip(table_rows(run.claims), run.claims, strict=True)
    ]
    lines += ["", "## Why", ""]
    lines += [f"- {markdown(record.sentence)}" for record in run.claims]
    lines += _section("Families", [family.sentence for family in run.families])
    lines += _section("Broken tests", [f"{broken.test}: {broken.error}" for broken in run.broken])
    return "\n".join(lines) + "\n"


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return (
        ["", f"## {title}", "", *(f"- {markdown(sentence)}" for sentence in sentences)] if sentences else []
    )


def _models(models: Iterable[ModelRecord]) -> list[str]:
    return [
        f"- {markdown(model.name)}: {model.num_layers} layers, {markdown(model.dtype)}, "
        f"{markdown(model.fingerprint[:12])}"
        for model in {model.name: model for model in models}.values()
    ]


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(markdown(cell) for cell in cells) + " |"
