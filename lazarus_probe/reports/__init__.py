"""The reports of runs: `run.json`, the HTML page, and comparisons between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from lazarus_probe.reports.card import card_markdown
    from lazarus_probe.reports.compare import compare_runs
    from lazarus_probe.reports.compare_table import comparison_text
    from lazarus_probe.reports.run import Run, RunError
    from lazarus_probe.reports.sides import find_run, read_side

__all__ = [
    "Run",
    "RunError",
    "card_markdown",
    "compare_runs",
    "comparison_text",
    "find_run",
    "read_side",
]

_HOMES = {
    "Run": "reports.run",
    "RunError": "reports.run",
    "card_markdown": "reports.card",
    "compare_runs": "reports.compare",
    "comparison_text": "reports.compare_table",
    "find_run": "reports.sides",
    "read_side": "reports.sides",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
