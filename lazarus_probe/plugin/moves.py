"""Outcomes that turn at the end of a session: what was supported or refuted alone, and is not in its family."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.junit import JunitCases
from lazarus_probe.plugin.outcomes import TestOutcome, outcome_of, show
from lazarus_probe.plugin.settings import fail_on

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord

Case = tuple[str, str]


class Moves:
    """The reports of the claims, in the categories that pytest counts them in."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.reports: dict[Case, list[pytest.TestReport]] = {}
        self.junit = JunitCases(config)
        self.failed = 0

    def remember(self, report: pytest.TestReport, case: Case) -> None:
        """Keep a claim's report for the end; one that pytest-rerunfailures runs again is counted as that for good."""
        if report.outcome in ("passed", "failed", "skipped"):
            self.reports.setdefault(case, []).append(report)
            self.junit.remember(report)

    def has_failed(self, record: ClaimRecord) -> bool:
        """Whether a claim's test is shown as failed."""
        return any(report.failed for report in self._reports(record))

    @property
    def shown_as_failed(self) -> int:
        """How many reports show a verdict as a failure."""
        return sum(report.failed for reports in self.reports.values() for report in reports)

    def finalise(self, record: ClaimRecord, *, cut_short: bool) -> None:
        """Bring a claim's outcome to its final verdict; all attempts at it that pytest counts have the one outcome.

        A failure that a cut short run ended with stays one: what did not run of its family made it inconclusive.
        """
        for report in self._reports(record):
            self._finalise(report, record, cut_short=cut_short)

    def _reports(self, record: ClaimRecord) -> list[pytest.TestReport]:
        from lazarus_probe.claims.attempts import case_of

        return self.reports.get(case_of(record), [])

    def _finalise(self, report: pytest.TestReport, record: ClaimRecord, *, cut_short: bool) -> None:
        self.junit.finalise(report, record)
        before = _category(report)
        same_verdict = report.probe.get("outcome") == record.outcome
        report.probe = record.model_dump(mode="json")  # type: ignore[attr-defined]
        outcome, text = outcome_of(
            record, strict=self.config.getoption("probe_strict"), failing=fail_on(self.config)
        )
        if (before == "failed" and cut_short) or (
            same_verdict and not record.attempts and _same(before, outcome, record)
        ):
            return
        if hasattr(report, "wasxfail"):
            del report.wasxfail
        show(report, outcome, text, (report.location[0], (report.location[1] or 0) + 1))
        self.junit.move(report, outcome, text)
        self._count(report, before)

    def _count(self, report: pytest.TestReport, before: str) -> None:
        now = _category(report)
        if now == before:
            return
        terminal = self.config.pluginmanager.get_plugin("terminalreporter")
        if terminal is not None:
            counted = terminal.stats.get(before, [])
            counted[:] = [counted_report for counted_report in counted if counted_report is not report]
            if not counted:
                terminal.stats.pop(before, None)
            terminal.stats.setdefault(now, []).append(report)
        if "failed" not in (before, now):
            return
        self.failed += 1 if now == "failed" else -1
        last = self.config.pluginmanager.get_plugin("lfplugin")
        key = getattr(report, "id", report.nodeid)  # since pytest 9.2 not the text
        if last is not None and now == "failed":
            last.lastfailed[key] = True
        elif last is not None:
            last.lastfailed.pop(key, None)


def _category(report: pytest.TestReport) -> str:
    """What pytest counts a claim's report as."""
    if hasattr(report, "wasxfail"):
        return "xfailed"
    inconclusive = getattr(report, "probe", {}).get("outcome") == "inconclusive"
    return "inconclusive" if report.skipped and inconclusive else report.outcome


def _same(before: str, outcome: TestOutcome, record: ClaimRecord) -> bool:
    """Whether a report already shows its outcome."""
    now = "inconclusive" if outcome == "skipped" and record.outcome == "inconclusive" else outcome
    return before == now
