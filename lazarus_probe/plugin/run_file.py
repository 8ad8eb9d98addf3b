"""The `run.jsonl` of a session: each attempt at a claim is on the disk before anything shows that it is over."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.models import label, models
from lazarus_probe.plugin.seeds import seeds_of
from lazarus_probe.plugin.settings import report_folder
from lazarus_probe.plugin.shards import record_of

if TYPE_CHECKING:
    from lazarus_probe.claims.attempt_record import Broken
    from lazarus_probe.claims.record import ClaimRecord


class RunFile:
    """Written by the one process that sees all reports: on a parallel run, the controller.

    Attributes:
        run: what the run is called, once it has a verdict.
        file: where it is; None before the first attempt, and where it cannot be written.
        problems: what went wrong, each once.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.run: str | None = None
        self.file: Path | None = None
        self.problems: list[str] = []
        self.over: list[ClaimRecord | Broken] = []
        self.cases: int | None = None
        self.written = 0  # of those that are over

    def add(self, attempt: ClaimRecord | Broken, cases: int | None) -> None:
        """Write an attempt down; a disk that is full ends no session, and all that is missing is tried again.

        Args:
            attempt: that is over.
            cases: how many the whole run has, where that is known.
        """
        self.over.append(attempt)
        self.cases = cases
        self.write()

    def write(self) -> None:
        """Write down what is not written yet; anew, where somebody took the file away."""
        from lazarus_probe.reports.run_log import add_attempt

        try:
            if self.file is None or not self.file.exists():
                self.file, self.written = None, 0
                self.file = self._started(self.over[0] if self.over else None, self.cases)
            for attempt in self.over[self.written :]:
                add_attempt(self.file, attempt)
                self.written += 1
        except OSError as error:
            problem = f"run.jsonl could not be written: {error}"
            if problem not in self.problems:
                self.problems.append(problem)

    def _started(self, attempt: ClaimRecord | Broken | None, cases: int | None) -> Path:
        from lazarus_probe.claims.attempts import case_of
        from lazarus_probe.reports.run import environment, now, shown_arguments
        from lazarus_probe.reports.run_log import Header, start_log

        self.run = self.run or now()
        header = Header(
            run=self.run,
            seeds=seeds_of(self.config),
            arguments=shown_arguments(self.config.invocation_params.args),
            cases=cases,
            environment=environment(),
            models=[label(name) for name in models(self.config)],
            shard=record_of(self.config),
        )
        model = case_of(attempt)[1] if attempt else ""
        names = {label(name) for name in models(self.config)}
        reports = report_folder(self.config)
        _clear(reports)
        return start_log(header, reports, names if model in names or not attempt else {model} - {""})


def _clear(reports: Path) -> None:
    """Take away what runs that were killed left half-written in the report folder and the folders in it."""
    from lazarus_probe.files.whole_files import clear_left

    for folder in (reports, *reports.glob("*/")):
        with suppress(OSError):
            clear_left(folder)
