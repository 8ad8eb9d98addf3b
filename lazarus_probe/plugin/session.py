"""Collecting the verdicts of a session, writing the run, and showing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lazarus_probe.plugin.baselines import remark, save
from lazarus_probe.plugin.collection import REFUSAL, is_worker
from lazarus_probe.plugin.options import report_folder

if TYPE_CHECKING:
    from lazarus_probe.claims.record import ClaimRecord
    from lazarus_probe.reports.run import Run


class ClaimSession:
    """The verdicts of one session; on a parallel run, the controller's."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.found: list[dict[str, Any]] = []
        self.failed: set[str] = set()
        self.ran: set[str] = set()
        self.problems: list[str] = []
        self.notes: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a claim's report carries."""
        if hasattr(report, "probe"):
            self.found.append(report.probe)
            if report.failed:
                self.failed.add(report.nodeid)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Count what ran: fewer than were collected make a partial run."""
        self.ran.add(nodeid)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Give an inconclusive claim its own category."""
        if getattr(report, "probe", {}).get("outcome") != "inconclusive" or report.outcome != "skipped":
            return None
        return "inconclusive", "?", "INCONCLUSIVE"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Take over what a worker of a parallel run refused."""
        problem = getattr(node, "workeroutput", {}).get(REFUSAL)
        if problem and problem not in self.problems:
            self.problems.append(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write run.json, summary.md and, if asked, baselines; on the controller alone."""
        if is_worker(self.config):
            return
        if self.found:
            try:
                self._write(session)
            except OSError as error:
                self.problems.append(f"the report could not be written: {error}")
        if self.problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _write(self, session: pytest.Session) -> None:
        from lazarus_probe.reports.run import make_run, write_run

        partial = self._was_cut_short(session)
        arguments = self.config.invocation_params.args
        run = make_run(self.records(), self.config.getoption("probe_seed"), arguments, partial=partial)
        written = write_run(run, report_folder(self.config))
        self.notes.append(f"report: {_shown(written, self.config.rootpath)}")
        _append_step_summary(run)
        if self.config.getoption("probe_save"):
            cut = ["no baseline was saved: the run was cut short"]
            self.notes += cut if partial else save(self.config, run.claims)

    def _was_cut_short(self, session: pytest.Session) -> bool:
        usual = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)
        return (
            session.exitstatus not in usual or bool(self.problems) or len(self.ran) < session.testscollected
        )

    def records(self) -> list[ClaimRecord]:
        """What was found, claim by claim."""
        from lazarus_probe.claims.record import ClaimRecord

        return sorted(map(ClaimRecord.model_validate, self.found), key=lambda record: record.order)

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table of claims, the reasons that were not shown as failures, and where the run lies."""
        if self.found:
            from lazarus_probe.reports.summary import text_table

            records = self.records()
            terminalreporter.section("claims")
            for line in [*text_table(records), "", *self._reasons(records), *self._remarks(records)]:
                terminalreporter.write_line(line)
            for note in self.notes:
                terminalreporter.write_line(note)
        for problem in self.problems:
            terminalreporter.write_line(f"ERROR: {problem}", red=True)

    def _reasons(self, records: list[ClaimRecord]) -> list[str]:
        """A sentence for each claim that is not supported, unless it stands among the failures."""
        hidden = self.config.option.tbstyle == "no"
        return [
            record.sentence
            for record in records
            if (record.outcome != "supported" or record.changed)
            and (hidden or record.test not in self.failed)
        ]

    def _remarks(self, records: list[ClaimRecord]) -> list[str]:
        models = {record.model.name: record for record in records}
        return [line for _, record in sorted(models.items()) if (line := remark(self.config, record))]


def _append_step_summary(run: Run) -> None:
    from lazarus_probe.reports.summary import summary_markdown

    if path := os.environ.get("GITHUB_STEP_SUMMARY"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(summary_markdown(run))


def _shown(path: Path, root: Path) -> str:
    return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)
