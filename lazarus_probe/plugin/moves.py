"""Outcomes that turn at the end of a session: what was supported alone, and is not in its family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.junit import JunitCases
from lazarus_probe.plugin.outcomes import Shown, outcome_of, show

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord


class Moves:
    """The reports of the claims, in the categories that pytest counts them in."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.reports: dict[str, pytest.TestReport] = {}
        self.junit = JunitCases(config)
        self.failed = 0

    def remember(self, report: pytest.TestReport) -> None:
        """Keep a claim's report for the end."""
        self.reports[report.nodeid] = report
        self.junit.remember(report)

    def has_failed(self, record: ClaimRecord) -> bool:
        """Whether a claim's test is shown as failed."""
        return self.reports[record.test].failed

    def settle(self, record: ClaimRecord) -> None:
        """Bring a claim's outcome to its final verdict; only what had passed can turn."""
        self.junit.settle(record)
        report = self.reports[record.test]
        report.probe = record.model_dump(mode="json")  # type: ignore[attr-defined]
        outcome, text = outcome_of(record, strict=self.config.getoption("probe_strict"))
        if not report.passed or outcome == "passed":
            return
        show(report, outcome, text, (report.location[0], (report.location[1] or 0) + 1))
        self.junit.move(record, outcome, text)
        self._count(report, outcome)

    def _count(self, report: pytest.TestReport, outcome: Shown) -> None:
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            passed = terminal.stats.get("passed", [])
            passed[:] = [each for each in passed if each is not report]
            category = "failed" if outcome == "failed" else "inconclusive"
            terminal.stats.setdefault(category, []).append(report)
        if outcome == "failed":
            self.failed += 1
            last = self.config.pluginmanager.get_plugin("lfplugin")
            if last is not None:
                last.lastfailed[report.nodeid] = True
