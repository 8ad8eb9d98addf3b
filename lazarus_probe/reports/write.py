"""A run's folder: `run.json`, `summary.md` and `index.html`, next to the `run.jsonl` that grew while it ran."""

from __future__ import annotations

import shutil
from html import escape
from pathlib import Path

from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.reports.run import Run, run_folder
from lazarus_probe.reports.summary import summary_markdown
from lazarus_probe.reports.versions.matrix import models_of
from lazarus_probe.reports.versions.matrix_table import matrix_markdown


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


def write_into(run: Run, folder: Path) -> None:
    """Write a run to its folder, `run.json` at last: where that stands, all of it does.

    Raises:
        OSError: a part of it cannot be written.
    """
    write_aside(folder / "summary.md", whole_summary(run))
    write_aside(folder / "index.html", _page(run))
    write_aside(folder / "run.json", run.model_dump_json(indent=2) + "\n")


def whole_summary(run: Run) -> str:
    """The Markdown of `summary.md`: the summary of a run and, where it has several models, its claims by model."""
    matrix = models_of(run)
    return f"{summary_markdown(run)}\n{matrix_markdown(matrix)}" if matrix else summary_markdown(run)


def _page(run: Run) -> str:
    """The page, or one that says why there is none: a figure that cannot be drawn must not take the numbers with it."""
    from lazarus_probe.reports.page import page_html

    try:
        return page_html(run)
    except Exception as error:
        why = escape(f"{type(error).__name__}: {error}")
        return f"<!doctype html><p>The page could not be made ({why}); the numbers are in run.json.</p>"
