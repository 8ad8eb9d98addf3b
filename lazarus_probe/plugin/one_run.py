"""Claims on a model that is split over processes: each runs the same tests, the first reports them."""

from __future__ import annotations

import os

import pytest


def add_parallel_option(group: pytest.OptionGroup) -> None:
    """Add `--probe-parallel`."""
    group.addoption(
        "--probe-parallel",
        metavar="tensor",
        help="split each model over the processes that mlx.launch started; a test that raises ends the run of all",
    )


def join_run(config: pytest.Config) -> None:
    """Join the other processes, if that was asked for.

    Raises:
        pytest.UsageError: there are none, or workers of pytest-xdist as well.
    """
    parallel = config.getoption("probe_parallel", None)
    if parallel is None:
        return
    if config.getoption("dist", "no") != "no":
        raise pytest.UsageError(f"--probe-parallel {parallel} takes no workers of pytest-xdist; leave out -n")
    from lazarus_probe.subject.one_run import join

    try:
        run = join(parallel)
    except ValueError as error:
        raise pytest.UsageError(f"--probe-parallel {parallel}: {error}") from None
    config.pluginmanager.register(_Member(f"process {run.rank} of {run.size}"), "lazarus_probe-one-run")


class _Member:
    """A process of the run."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.errors = os.dup(2)  # what pytest captures later is not it

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """End the session with a test that raised: whether it did in the others, too, is not known.

        They would wait for this process, or take its values of the next test for those of this one.
        """
        if report.failed and not hasattr(report, "probe"):
            lines = [line for line in report.longreprtext.splitlines() if line.startswith("E ")]
            reason = " ".join(lines[0][1:].split()) if lines else report.longreprtext[-200:]
            ended = f"{self.name}: {report.nodeid} failed, which ends the run: {reason}"
            os.write(self.errors, f"\n{ended}\n".encode(errors="backslashreplace"))
            pytest.exit(ended, returncode=pytest.ExitCode.TESTS_FAILED)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Wait for the first process, which writes the report."""
        from lazarus_probe.subject.one_run import leave

        leave()
