"""`--probe-progress`: a line for each claim when it is decided, and how long the others are likely to take."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from lazarus_probe.plugin.collection import claim_of, is_claim, is_worker
from lazarus_probe.untrusted import in_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLOURS = {"supported": "green", "refuted": "red", "confounded": "yellow", "broke": "red"}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option."""
    parser.getgroup("lazarus_probe").addoption(
        "--probe-progress",
        action="store_true",
        help="print a line for each claim when it is decided, with how long the others are likely to take, in place "
        "of pytest's dots",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Print lines where they are requested; a worker of a parallel run has no terminal."""
    if config.getoption("probe_progress") and not is_worker(config):
        config.pluginmanager.register(ClaimLines(config), "lazarus_probe-claim-lines")


class ClaimLines:
    """Prints the outcome of each claim, before its family corrects it.

    The rest is expected to take as long as its claims took when they were measured, in proportion to those done.
    """

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.costs: dict[str, float] = {}
        self.done: set[str] = set()
        self.began = time.monotonic()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Learn which tests decide a claim, and what share of the work each is."""
        from lazarus_probe.claims.library import measured_costs, share_costs

        claims = {item.nodeid: claim_of(item).id for item in session.items if is_claim(item)}
        self.costs = share_costs(claims, measured_costs())
        self.began = time.monotonic()

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Learn the tests of a parallel run, which workers collect: not what each decides, so all cost the same."""
        self.costs = self.costs or dict.fromkeys(ids, 1.0)

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(self, report: pytest.TestReport) -> tuple[str, str, str] | None:
        """Print no letter for a claim that has a line; the counts at the end are pytest's."""
        if hasattr(report, "probe_broken"):
            return "failed" if report.when == "call" else "error", "", "BROKE"
        outcome = getattr(report, "probe", {}).get("outcome")
        if outcome is None:
            return None
        shown = "xfailed" if hasattr(report, "wasxfail") else report.outcome
        return (
            ("inconclusive" if outcome == "inconclusive" and shown == "skipped" else shown),
            "",
            outcome.upper(),
        )

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Print a claim's line once."""
        record, broken = getattr(report, "probe", {}), getattr(report, "probe_broken", {})
        reporter = self.config.pluginmanager.get_plugin("terminalreporter")
        if report.when == "teardown" and report.nodeid in self.costs:
            self.done.add(report.nodeid)  # a test without a verdict is done as well
        if not (record or broken) or report.nodeid in self.done or reporter is None:
            return
        self.done.add(report.nodeid)
        outcome, text = (record["outcome"], _score(record)) if record else ("broke", _broken(broken))
        reporter.ensure_newline()
        reporter.write(f"{self._number()}  {outcome:<14} ", **{COLOURS.get(outcome, "light"): True})
        reporter.write_line(in_line(f"{text}{self._left()}"))
        reporter.flush()

    def _number(self) -> str:
        return f"{len(self.done):>{len(str(len(self.costs)))}} of {len(self.costs)}"

    def _left(self) -> str:
        done = sum(cost for test, cost in self.costs.items() if test in self.done)
        left = sum(self.costs.values()) - done
        if not done or not left:
            return ""
        return f"; about {duration((time.monotonic() - self.began) * left / done)} left"


def _score(record: Mapping[str, Any]) -> str:
    claim, measurement = record["claim"]["id"], record["measurement"]
    key = f"{claim}[{record['parameters']}]" if record["parameters"] else claim
    return f"{key} {measurement['score']:.2f}" if measurement else key


def _broken(broken: Mapping[str, str]) -> str:
    return f"{broken['claim']}: {broken['error']}"


def duration(seconds: float) -> str:
    """Seconds as one reads them, as in 40 s or 5 min."""
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
