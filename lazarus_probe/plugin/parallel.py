"""Several processes: which worker of pytest-xdist tests what, and claims on one model over processes.

With several models, each worker holds one at a time. Of a model over processes, each of these runs the same tests, and
the first reports them.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from lazarus_probe.plugin.models import asked_for, identifier, models

CHOSEN: pytest.StashKey[bool] = pytest.StashKey()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> Any:
    """Notice whether the user chose how tests are distributed, before pytest-xdist fills in its default."""
    option = config.option
    config.stash[CHOSEN] = getattr(option, "dist", "no") != "no" or getattr(option, "distload", False)
    return (yield)


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Distribute by model where there are several; with one, or where the user chose, xdist does as ever.

    A worker that tests now one model and now another would load each again and again. With at least as many models
    as workers, one worker tests all of a model. With fewer, the workers share each model file by file; as the models
    are in order, a worker leaves one for good before it loads the next.
    """
    if config.stash.get(CHOSEN, True) or len(asked_for(config)) < 2:
        return None
    from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]
    from xdist.workermanage import parse_tx_spec_config  # type: ignore[import-untyped]

    names = sorted((identifier(config, name) for name in models(config)), key=len, reverse=True)
    one_model_each = len(names) >= len(parse_tx_spec_config(config))

    class ByModel(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return unit_of(nodeid, names, whole=one_model_each)

    config.option.loadscopereorder = False
    return ByModel(config, log)


def unit_of(nodeid: str, names: list[str], *, whole: bool) -> str:
    """What a worker takes on at once: all tests of a model, or those in one file; a file's tests without a model.

    Args:
        nodeid: of the test; the model stands first among its parameters.
        names: of the models, longer ones first.
        whole: whether one worker tests all of a model.
    """
    file, _, rest = nodeid.partition("::")
    parameters = rest.partition("[")[2].removesuffix("]")
    for name in names:
        if parameters == name or parameters.startswith(f"{name}-"):
            return name if whole else f"{name} {file}"
    return file


def add_parallel_option(group: pytest.OptionGroup) -> None:
    """Add `--probe-parallel`."""
    group.addoption(
        "--probe-parallel",
        metavar="tensor|pipeline|data",
        help="over the processes that mlx.launch started, split each model by heads and neurons (tensor) or by blocks "
        "(pipeline), or deal the batches of a model that each has (data); a test that raises ends the run of all",
    )


def join_run(config: pytest.Config) -> None:
    """Join the other processes, where `--probe-parallel` is given.

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
    config.pluginmanager.register(
        _Member(f"process {run.rank} of {run.size}", config), "lazarus_probe-one-run"
    )


class _Member:
    """A process of the run."""

    def __init__(self, name: str, config: pytest.Config) -> None:
        self.name, self.config = name, config
        self.failed = False
        self.errors = os.dup(2)  # what pytest captures later is not it

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """From now on there is something to report, also if the main thread gets stuck."""
        from lazarus_probe.subject.one_run import joined

        def report() -> None:
            claims: Any = self.config.pluginmanager.get_plugin("lazarus_probe-session")
            session.exitstatus = pytest.ExitCode.INTERRUPTED
            claims.pytest_sessionfinish(session)

        if run := joined():
            run.watch.last_words = report

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
            self._end(ended)
            pytest.exit(ended, returncode=pytest.ExitCode.TESTS_FAILED)

    def pytest_keyboard_interrupt(self) -> None:
        """End the other processes, too."""
        self._end(f"{self.name} was interrupted")

    def pytest_internalerror(self, excrepr: object) -> None:
        """End the other processes, too."""
        self._end(f"{self.name}: pytest failed: {str(excrepr)[-200:]}")

    def _end(self, reason: str) -> None:
        from lazarus_probe.subject.one_run import joined

        self.failed = True
        if run := joined():
            run.watch.fail(reason)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        """Wait for the first process, which writes the report; others may not be done with a test that failed here."""
        from lazarus_probe.subject.one_run import leave

        if not self.failed:
            leave()
