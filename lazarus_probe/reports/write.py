"""A run's folder: `run.json`, `summary.md` and `index.html`, beside the `run.jsonl` that grew while it ran."""

from __future__ import annotations

import shutil
from collections.abc import Collection
from html import escape
from pathlib import Path

from lazarus_probe.files.whole_files import file_name, new_folder, write_aside
from lazarus_probe.reports.run import Run
from lazarus_probe.reports.summary import summary_markdown


def write_run(run: Run, reports: Path) -> Path:
    """Write a run to a folder of its own, named after it; the folder appears whole or not at all.

    Raises:
        OSError: it cannot be written; then nothing is left of it.
    """
    folder = run_folder(reports, run.run, {record.model.name for record in run.claims})
    try:
        write_into(run, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def run_folder(reports: Path, run: str, models: Collection[str]) -> Path:
    """Make the folder of a run that nothing is written of yet; no two runs ever share one.

    Raises:
        OSError: it cannot be made.
    """
    joined = "_".join(sorted(name.replace("/", "--") for name in models)) or "no-verdicts"
    shown = joined if len(models) == 1 or len(joined) <= 100 else f"{len(models)}-models"
    return new_folder(reports / file_name(f"{run}-{shown}", ""))


def write_into(run: Run, folder: Path) -> None:
    """Write a run to its folder, `run.json` at last: where that stands, all of it does.

    Raises:
        OSError: a part of it cannot be written.
    """
    write_aside(folder / "summary.md", summary_markdown(run))
    write_aside(folder / "index.html", _page(run))
    write_aside(folder / "run.json", run.model_dump_json(indent=2) + "\n")


def _page(run: Run) -> str:
    """The page, or one that says why there is none: a figure that cannot be drawn must not take the numbers with it."""
    from lazarus_probe.reports.page import page_html

    try:
        return page_html(run)
    except Exception as error:
        why = escape(f"{type(error).__name__}: {error}")
        return f"<!doctype html><p>The page could not be made ({why}); the numbers are in run.json.</p>"
