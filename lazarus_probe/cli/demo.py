"""`lazarus demo`: three published claims on a bundled model, one of each outcome that there is to see."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord

MODEL = "organism"
# Of the cheapest claims of the package: one that the model supports, one that a control explains, one that it refutes.
CLAIMS = ("patching-transfers-answer", "middle-neighbours-can-swap", "heads-sink-into-first-token")
MEANS = {
    "supported": "It holds here, and no control explains it",
    "confounded": "Something simpler reaches as much, so it shows nothing about the model",
    "refuted": "It does not hold here",
}


def demo(
    reports: Annotated[Path, typer.Option(help="Folder to write the run to.")] = Path("reports"),
    as_json: AsJson = False,
) -> None:
    """Test three published claims on a bundled model in about 20 seconds: one holds, one is confounded, one fails.

    Nothing is downloaded. What it runs is `lazarus test -m organism`, on three claims.
    """
    from lazarus_probe.claims.library import library
    from lazarus_probe.reports.pytest_command import pytest_command
    from lazarus_probe.reports.run import read_run
    from lazarus_probe.subject.one_run import require_one_process

    require_one_process("the demo")
    if not as_json:
        typer.echo(f"Testing three published claims on {MODEL}, a small bundled model (about 20 s) ...\n")
    by_id = {item.claim.id: item for item in library()}
    before = _runs(reports)
    options = ["--probe-baseline", "none", "--tb=short"]
    command = pytest_command([by_id[claim] for claim in CLAIMS], [MODEL], reports, options)
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - the interpreter at hand
    new = _runs(reports) - before
    records = {record.claim.id: record for folder in new for record in read_run(folder).claims}
    if missing := [claim for claim in CLAIMS if claim not in records]:
        raise ValueError(f"{', '.join(missing)} gave no verdict; pytest says:\n{done.stdout}{done.stderr}")
    folder = new.pop()
    page = folder / "index.html"
    verdicts = [
        {"claim": claim, "outcome": str(records[claim].outcome), "reason": records[claim].reason}
        for claim in CLAIMS
    ]
    paragraphs = [_paragraph(records[claim]) for claim in CLAIMS]
    last = [
        f"The report, with the evidence and controls of each: {page}",
        "Your own model: lazarus test -m MODEL --quick",
    ]
    text = "\n\n".join([*paragraphs, "\n".join(last)])
    deliver({"verdicts": verdicts, "report": str(page)}, text, as_json=as_json)


def _runs(reports: Path) -> set[Path]:
    """The folders of runs that have ended."""
    return {file.parent for file in reports.glob("*/run.json")}


def _paragraph(record: ClaimRecord) -> str:
    """A claim, its outcome and what that means, for the terminal at hand."""
    from lazarus_probe.untrusted import in_line

    width = min(shutil.get_terminal_size().columns, 100)
    reason = record.reason.partition("; not run, since")[0]
    source = record.claim.source.partition(" (")[0]
    lines = [f"{record.claim.statement} ({source})", f"{MEANS.get(record.outcome, 'Open')}: {reason}."]
    filled = [fill(in_line(line), width, initial_indent="  ", subsequent_indent="  ") for line in lines]
    return "\n".join([f"{typer.style(str(record.outcome).upper(), bold=True)}  {record.key}", *filled])
