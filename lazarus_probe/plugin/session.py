"""Collecting the verdicts of a session, correcting them in their families, and writing the run."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from lazarus_probe.plain import without_halves
from lazarus_probe.plugin import shards
from lazarus_probe.plugin.baselines import baselines, keep
from lazarus_probe.plugin.collection import LEFT_OUT, REFUSAL, SELECTED, is_claim, is_worker
from lazarus_probe.plugin.models import asked_for, label, models
from lazarus_probe.plugin.moves import Moves
from lazarus_probe.plugin.outcomes import CASES
from lazarus_probe.plugin.readable import make_warning_readable
from lazarus_probe.plugin.run_file import RunFile
from lazarus_probe.plugin.seeds import seeds_of
from lazarus_probe.plugin.settings import report_folder

if TYPE_CHECKING:
    from warnings import WarningMessage

    from lazarus_probe.claims.attempt_record import Broken
    from lazarus_probe.claims.families import FamilyRecord
    from lazarus_probe.claims.record import ClaimRecord
    from lazarus_probe.reports.run import Run
    from lazarus_probe.reports.shard_record import ShardRecord

PHASES = ("setup", "call", "teardown")  # else it is xdist's or pytest-forked's word of a process that died
USUAL = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED)


class ClaimSession:
    """The verdicts of one session; on a parallel run, the controller's."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.cases: int | None = None
        self.file = RunFile(config)
        self.ran: set[str] = set()
        self.claims: set[str] = set()  # node ids; of a parallel run's workers those whose tests have begun
        self.others: set[str] = set()  # likewise, of tests that decide no claim
        self.left_out = 0
        self.run: Run | None = None  # once the session has ended
        self.skipped = False
        self.crashed = False
        self.problems: list[str] = []
        self.notes: list[str] = []
        self.records: list[ClaimRecord] = []
        self.broken: list[Broken] = []
        self.families: list[FamilyRecord] = []
        self.moves = Moves(config)
        self.began = time.monotonic()
        self.lf = bool(config.getoption("lf", False) and _failed_last_time(config))

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Count the verdicts that a whole run has; pytest comes here from a refusal too, which counts nothing."""
        if SELECTED in self.config.stash:
            self.config.stash[CASES] = self.config.stash[SELECTED] + self.left_out
        for item in session.items:
            (self.claims if is_claim(item) else self.others).add(item.nodeid)

    @pytest.hookimpl(tryfirst=True)  # what is shown as over is on the disk
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep what a claim's report carries."""
        self.skipped |= _came_to_nothing(report)
        if report.when in PHASES:
            (self.claims if hasattr(report, "probe_cases") else self.others).add(report.nodeid)
        attempt = None if is_worker(self.config) else self._attempt(report)
        if attempt is None:
            return
        self.cases = getattr(report, "probe_cases", None) or self.cases
        self.file.add(attempt, self.cases)
        if hasattr(report, "probe"):
            self.moves.remember(report, _case_of(attempt))

    @pytest.hookimpl(tryfirst=True)  # before a worker of a parallel run sends it
    def pytest_warning_recorded(self, warning_message: WarningMessage, nodeid: str) -> None:
        """Spell out what a claim's warning holds that no terminal or worker can."""
        if nodeid in self.claims:
            make_warning_readable(warning_message)

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Count what ran: fewer than were collected make a partial run."""
        self.ran.add(nodeid)

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        """Count the claims that `-k`, `-m`, `--lf` or another plugin leaves out; other shards leave none out."""
        if items is not self.config.stash.get(shards.ELSEWHERE, None):
            self.left_out += sum(map(is_claim, items))

    def _attempt(self, report: pytest.TestReport) -> ClaimRecord | Broken | None:
        """What a report says of a claim, if it is over."""
        judged, broken = getattr(report, "probe", None), getattr(report, "probe_broken", None)
        of_claim = judged or broken or (report.when not in PHASES and self._may_be_claim(report.nodeid))
        if not of_claim:
            return None  # nothing heavy is imported for it
        from lazarus_probe.claims.attempt_record import Broken
        from lazarus_probe.claims.record import ClaimRecord

        if judged:
            return ClaimRecord.model_validate(judged)
        if broken:
            return Broken.model_validate(broken)
        return Broken(test=without_halves(report.nodeid), error=without_halves(str(report.longrepr)))

    def _may_be_claim(self, nodeid: str) -> bool:
        """Whether a process died in a claim's test; of one that died before the test's first report nobody knows."""
        claims_run = bool(self.claims or asked_for(self.config))
        return nodeid in self.claims or (nodeid not in self.others and claims_run)

    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Give an inconclusive claim its own category."""
        if getattr(report, "probe", {}).get("outcome") != "inconclusive" or report.outcome != "skipped":
            return None
        return "inconclusive", "?", "INCONCLUSIVE"

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any, error: object | None) -> None:
        """Take over what a worker of a parallel run has to say, or that it died."""
        output = getattr(node, "workeroutput", None) or {}
        self.crashed |= error is not None
        self.left_out = max(self.left_out, output.get(LEFT_OUT, 0))
        shards.hear_worker(self.config, output)
        problem = output.get(REFUSAL)
        if problem and problem not in self.problems:
            self.problems.append(problem)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Finalise the verdicts, write run.json, summary.md and, if requested, baselines; on the controller alone."""
        if is_worker(self.config):
            self.config.workeroutput[LEFT_OUT] = self.left_out  # type: ignore[attr-defined]
            shards.tell_controller(self.config)
            return
        if shards.is_empty(self.config) and session.exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK
        if self.file.over or (shards.SHARD in self.config.stash and not self.config.option.collectonly):
            cut_short = self._was_cut_short(session)
            self._finalise(session, cut_short=cut_short)
            self._write(session, cut_short=cut_short)
        if self.problems:
            session.exitstatus = pytest.ExitCode.USAGE_ERROR

    def _was_cut_short(self, session: pytest.Session) -> bool:
        stopped = session.exitstatus not in USUAL or bool(self.problems) or self.crashed
        return stopped or len(self.ran) < session.testscollected

    def _finalise(self, session: pytest.Session, *, cut_short: bool) -> None:
        """Correct every verdict within its family, compare it with the baseline's, and move test outcomes to match."""
        from lazarus_probe.claims.attempts import merged_attempts
        from lazarus_probe.claims.claim import ClaimError
        from lazarus_probe.claims.families import correct

        alone, self.broken = merged_attempts(self.file.over)
        self.records, self.families = correct(alone)
        try:
            self.records = baselines(self.config).with_known(self.records)
        except ClaimError as error:
            self.problems.append(str(error))
        for record in self.records:
            self.moves.finalise(record, cut_short=cut_short)
        session.testsfailed += self.moves.failed
        if self.moves.failed and session.exitstatus in USUAL:
            failed = pytest.ExitCode.TESTS_FAILED if session.testsfailed else pytest.ExitCode.OK
            session.exitstatus = failed
        if session.exitstatus == pytest.ExitCode.OK and self._has_tested_too_little():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def _has_tested_too_little(self) -> bool:
        """Under `--probe-strict`, whether no claim applies to one of the models, unless its baseline says so too."""
        from lazarus_probe.reports.closing import untested

        whole = shards.shard_of(self.config) is None
        return bool(whole and untested(self.records) and self.config.getoption("probe_strict"))

    def _write(self, session: pytest.Session, *, cut_short: bool) -> None:
        from lazarus_probe.reports.closing import append_step_summary

        self.file.write()
        left_out = bool(self.left_out) or self.skipped or self.lf
        failed = session.testsfailed - self.moves.shown_as_failed
        shard = shards.finished(self.config, cut_short=cut_short, left_out=left_out, failed=failed)
        run = self._run(partial=cut_short or left_out or shard is not None, shard=shard)
        if shard is not None:
            self.notes += shards.sentences(shard, len(run.claims), run.cases)
        self.run = run
        self.problems += self.file.problems
        try:
            self._report(run)
        except OSError as error:
            self.problems.append(f"the report could not be written: {error}")
        try:
            append_step_summary(run)
        except OSError as error:
            self.problems.append(f"$GITHUB_STEP_SUMMARY could not be written: {error}")
        if run.claims:
            notes, problems = keep(self.config, run.claims, cut_short=cut_short)
            self.notes += notes
            self.problems += problems

    def _run(self, *, partial: bool, shard: ShardRecord | None) -> Run:
        from lazarus_probe.reports.run import make_run

        return make_run(
            self.records,
            seeds_of(self.config),
            self.config.invocation_params.args,
            partial=partial,
            families=self.families,
            broken=self.broken,
            cases=self.cases or self.config.stash.get(CASES, None),
            run=self.file.run,
            models=[label(name) for name in models(self.config)],
            shard=shard,
            seconds=round(time.monotonic() - self.began, 1),
            commit=self._commit(),
        )

    def _commit(self) -> str | None:
        """The commit of the first claim's file; all are of one suite."""
        from lazarus_probe.versions import commit_of

        tests = [record.test for record in self.records] + [broken.test for broken in self.broken]
        tests = [test for test in tests if "::" in test]
        return commit_of(self.config.rootpath / Path(tests[0].partition("::")[0])) if tests else None

    def _report(self, run: Run) -> None:
        from lazarus_probe.reports.write import write_into, write_run

        if self.file.file is None:
            written = write_run(run, report_folder(self.config))
        else:
            written = self.file.file.parent
            write_into(run, written)
        root = self.config.rootpath
        shown = written.relative_to(root) if written.is_relative_to(root) else written
        self.notes.append(f"report: {shown}")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the table of claims, the reasons that were not shown as failures, and where the run lies."""
        from lazarus_probe.plugin.closing import say

        say(self, terminalreporter)


def _came_to_nothing(report: pytest.TestReport) -> bool:
    """Whether a claim's test was left out while it ran: `pytest.skip`, a marker, or `pytest.xfail`."""
    return hasattr(report, "probe_cases") and report.skipped and not hasattr(report, "probe")


def _case_of(attempt: ClaimRecord | Broken) -> tuple[str, str]:
    from lazarus_probe.claims.attempts import case_of

    return case_of(attempt)


def _failed_last_time(config: pytest.Config) -> bool:
    cache = getattr(config, "cache", None)
    return bool(cache and cache.get("cache/lastfailed", {}))
