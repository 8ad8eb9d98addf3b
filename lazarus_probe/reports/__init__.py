"""The reports of runs: `run.json`, the HTML page, and comparisons between runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from lazarus_probe.reports.card import card_markdown
    from lazarus_probe.reports.charts import Chart, curve_chart, grid_chart
    from lazarus_probe.reports.hub_metadata import model_index
    from lazarus_probe.reports.loggers import log_run, rows_of
    from lazarus_probe.reports.run import Run, RunError
    from lazarus_probe.reports.versions.compare import compare_runs
    from lazarus_probe.reports.versions.compare_table import comparison_text
    from lazarus_probe.reports.versions.sides import find_run, read_side

__all__ = [
    "Chart",
    "Run",
    "RunError",
    "card_markdown",
    "compare_runs",
    "comparison_text",
    "curve_chart",
    "find_run",
    "grid_chart",
    "log_run",
    "model_index",
    "read_side",
    "rows_of",
]

_HOMES = {
    "Chart": "reports.charts",
    "Run": "reports.run",
    "RunError": "reports.run",
    "card_markdown": "reports.card",
    "compare_runs": "reports.versions.compare",
    "comparison_text": "reports.versions.compare_table",
    "curve_chart": "reports.charts",
    "find_run": "reports.versions.sides",
    "grid_chart": "reports.charts",
    "log_run": "reports.loggers",
    "model_index": "reports.hub_metadata",
    "read_side": "reports.versions.sides",
    "rows_of": "reports.loggers",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
