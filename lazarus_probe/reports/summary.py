"""The table of claims: for the terminal, and for `summary.md`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.claims.record import ClaimRecord, ControlRecord, ModelRecord, named_seeds
from lazarus_probe.statistics.intervals import Interval, shown
from lazarus_probe.tables import Column, Table
from lazarus_probe.untrusted import markdown

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run

HEADINGS = ("claim", "model", "verdict", "effect", "interval", "best control")
STABLE = "stable in"


def claims_table(records: Sequence[ClaimRecord], q: bool = False) -> Table:
    """A row a record: claim, model, verdict (`!` where it changed), effect, interval, best control.

    Where seeds were pooled, another column says with how many of them alone the verdict is the same.

    Args:
        records: of a run.
        q: whether the last column is the q-value in the claim's family.
    """
    pooled = any(record.seeds for record in records)
    rows = [
        (
            *_row(record),
            *([_stable(record)] if pooled else []),
            *(["" if record.q is None else record.q] if q else []),
        )
        for record in records
    ]
    return Table((*HEADINGS, *([STABLE] if pooled else []), *([Column("q", ".3f")] if q else [])), rows)


def _stable(record: ClaimRecord) -> str:
    return f"{record.stable} of {len(record.seeds)}" if record.seeds else ""


def _row(record: ClaimRecord) -> tuple[str, ...]:
    verdict = f"{record.outcome}!" if record.changed else str(record.outcome)
    measurement = record.measurement
    if measurement is None:
        return record.key, record.model.name, verdict, "", "", ""
    best = min(measurement.controls, key=lambda control: control.gain, default=None)
    interval = str(Interval(measurement.low, measurement.high))
    control = _control(best) if best else ""
    return record.key, record.model.name, verdict, shown(measurement.score), interval, control


def _control(control: ControlRecord) -> str:
    return f"{control.name} {shown(control.score)}"


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
        lines += [f"**{run.how_partial.capitalize()}**: {run.why_partial}.", ""]
    lines += [line for sentence in nothing_tested(run.claims) for line in (f"**{markdown(sentence)}**", "")]
    seeds, where = named_seeds(run.seeds).capitalize(), run.environment
    lines += [f"{seeds}, device {markdown(where.device)}, BLAS {markdown(where.blas)}.", ""]
    lines += [*_models(record.model for record in run.claims), ""]
    lines += [*claims_table(run.claims, q=True).markdown(markdown), "", "## Why", ""]
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
