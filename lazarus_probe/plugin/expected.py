"""How long a run is likely to take, said before its first test.

It is what the same command took the last time, if that run is kept; else what its claims took when they were measured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import pytest

from lazarus_probe.plugin.collection import claim_of, is_claim, is_worker
from lazarus_probe.plugin.models import label, models
from lazarus_probe.plugin.settings import report_folder

if TYPE_CHECKING:
    from lazarus_probe.reports.run import Run

LEAST = 20.0  # seconds: nobody waits for less
LOOKED_AT = 20  # kept runs, the newest ones


def pytest_configure(config: pytest.Config) -> None:
    """Expect something, unless this is a worker of a parallel run or only lists its tests."""
    if not is_worker(config) and not config.option.collectonly:
        config.pluginmanager.register(Expected(config), "lazarus_probe-expected")


class Expected:
    """Says it once, after the tests were collected: here, or on the first worker of a parallel run."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.told = False

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Say what the tests of this process are likely to take; a parallel run has none here."""
        items = [item for item in session.items if is_claim(item)]
        if not items:
            return  # before pydantic is imported
        from lazarus_probe.claims.claim import ClaimError

        try:
            claims = {item.nodeid: claim_of(item).id for item in items}
        except ClaimError:
            return  # one is declared wrongly: the run is refused by name after this
        self._tell(claims, 1)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Say it of the tests that a worker has collected, of which each worker runs a part."""
        workers = self.config.option.tx
        self._tell(_claims_of(ids), len(workers) if isinstance(workers, list) else 1)

    def _tell(self, claims: Mapping[str, str], workers: int) -> None:
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if self.told or reporter is None or self.config.option.verbose < 0 or not claims:
            return
        self.told = True
        if line := self._line(claims, workers):
            reporter.write_line(f"lazarus_probe: {line}")

    def _line(self, claims: Mapping[str, str], workers: int) -> str:
        from lazarus_probe.plugin.claim_lines import duration

        if (last := _last_run(self.config)) is not None and last.seconds is not None:
            seconds, how = last.seconds, f"as long as the same command took in run {last.run}"
        else:
            names = [label(name) for name in models(self.config)]
            seconds = sum(measured_seconds(claims.values(), name) for name in names) / workers
            over = f", over {workers} workers" if workers > 1 else ""
            how = f"measured on {' and '.join(names)} with a core for each worker{over}"
        return f"about {duration(seconds)}: {how}" if seconds >= LEAST else ""


def measured_seconds(claims: Iterable[str], model: str) -> float:
    """What claims took when they were measured on a model, on one core; 0 where most were never measured on it."""
    from lazarus_probe.claims.library import measured_costs

    costs, chosen = measured_costs(model), {*claims}
    known = [costs[claim] for claim in chosen if claim in costs]
    return sum(known) if 2 * len(known) > len(chosen) else 0.0


def _claims_of(ids: Sequence[str]) -> dict[str, str]:
    """By test the claim of the package that it decides; other tests decide claims that were never measured."""
    from lazarus_probe.claims.library import library

    by_test = {(item.file.name, item.test): item.claim.id for item in library()}
    keys = {test: _key(test) for test in ids}
    return {test: by_test.get(key, test) for test, key in keys.items()}


def _key(test: str) -> tuple[str, str]:
    file, _, name = test.partition("::")
    return file.rpartition("/")[2], name.partition("[")[0]


def _last_run(config: pytest.Config) -> Run | None:
    """The newest whole run of this command on these models that is kept; what cannot be read is passed over."""
    from lazarus_probe.reports.run import RunError, read_run, shown_arguments
    from lazarus_probe.reports.run_log import NAME, read_header

    arguments = shown_arguments(config.invocation_params.args)
    names = [label(name) for name in models(config)]
    try:
        logs = sorted(report_folder(config).glob(f"*/{NAME}"), reverse=True)[:LOOKED_AT]
    except OSError:
        return None  # what is wrong with the folder is said when the report is written
    for log in logs:
        try:
            header = read_header(log)
            if (header.arguments, header.models) == (arguments, names):
                run = read_run(log.parent)
                if not run.partial:
                    return run
        except RunError:
            continue
    return None
