"""A suite of claims, and its runs on a model and on mutants of it: pytest as a user runs it, in its own process."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree

from lazarus_probe.claims.library import LibraryClaim
from lazarus_probe.reports.pytest_command import own_command, pytest_command
from lazarus_probe.reports.run import Run
from lazarus_probe.reports.run_log import read_any
from lazarus_probe.reports.versions.sides import Side, run_side

LINES = 15  # of pytest's output, in an error


@dataclass(frozen=True)
class Suite:
    """Claims, as pytest is given them.

    Attributes:
        claims: of the package.
        files: of one's own, where there are none of the package: files, folders, or tests by name.
        names: of the functions in these that are run; none: all of them.
    """

    claims: tuple[LibraryClaim, ...] = ()
    files: tuple[str, ...] = ()
    names: tuple[str, ...] = ()

    def command(self, models: Sequence[str], reports: Path, more: Sequence[str]) -> list[str]:
        """The command line that tests it on some models."""
        # What a mutant moves is looked at, no verdict: of a real model, 15 of 16 parts of the cost are control models.
        options = ["--probe-scores-only", "--tb=short", *more]
        if self.files:
            named = ("-k", " or ".join(self.names)) if self.names else ()
            return own_command(self.files, models, reports, [*options, *named])
        return pytest_command(self.claims, models, reports, options)

    def only(self, tests: Sequence[str], records: Mapping[str, str]) -> Suite:
        """The part of it that some tests are.

        Args:
            tests: names without parameters, as `records` has them.
            records: by claim and parameters the test that decided it.
        """
        if self.files:
            # Names of files in a run are relative to pytest's rootdir, which need not be the folder at hand.
            return replace(self, names=tuple(sorted({test.rpartition("::")[2] for test in tests})))
        wanted = {claim.partition("[")[0] for claim, test in records.items() if test in set(tests)}
        return replace(self, claims=tuple(item for item in self.claims if item.claim.id in wanted))


@dataclass(frozen=True)
class PlainRun:
    """The suite on the model itself.

    Attributes:
        side: the outcomes of the claims.
        costs: seconds by claim and parameters.
        tests: by claim and parameters the test that decided it, without parameters.
    """

    side: Side
    costs: Mapping[str, float]
    tests: Mapping[str, str]

    @property
    def seconds_by_test(self) -> dict[str, float]:
        """Seconds of each test over all of its parameters."""
        seconds: defaultdict[str, float] = defaultdict(float)
        for claim, test in self.tests.items():
            seconds[test] += self.costs.get(claim, 0.0)
        return dict(seconds)

    def only(self, tests: Collection[str]) -> PlainRun:
        """The outcomes of some tests."""
        tests = {claim: test for claim, test in self.tests.items() if test in tests}
        claims = {
            model: {claim: record for claim, record in records.items() if claim in tests}
            for model, records in self.side.claims.items()
        }
        costs = {claim: cost for claim, cost in self.costs.items() if claim in tests}
        return PlainRun(replace(self.side, claims=claims), costs, tests)


def run_plain(suite: Suite, model: str, seed: int = 0) -> PlainRun:
    """Run a suite on the model itself, and take the time of its claims.

    Raises:
        ValueError: pytest wrote no run.
    """
    with tempfile.TemporaryDirectory(prefix="lazarus-") as folder:
        xml = Path(folder) / "junit.xml"
        run = run_models(suite, [model], ("--probe-seed", str(seed), f"--junitxml={xml}"))
        costs = {
            claim: float(case.attrib["time"])
            for case in ElementTree.parse(xml).iter("testcase")  # noqa: S314 - pytest wrote it here
            for claim in _claim_of(case)
        }
    tests = {record.key: record.test.partition("[")[0] for record in run.claims}
    return PlainRun(run_side(run, model), costs, tests)


def _claim_of(case: ElementTree.Element) -> list[str]:
    return [item.attrib["value"] for item in case.iter("property") if item.get("name") == "claim"]


def run_models(
    suite: Suite,
    models: Sequence[str],
    more: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Run:
    """Run a suite on some models in a process of its own.

    Args:
        suite: the claims.
        models: names or folders.
        more: options of pytest.
        environment: variables to run it under; by default it computes on one thread.

    Raises:
        ValueError: pytest wrote no run; with the end of what it printed.
    """
    threads = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory(prefix="lazarus-") as folder:
        reports = Path(folder) / "reports"
        command = suite.command(models, reports, more)
        done = subprocess.run(  # noqa: S603 - the interpreter at hand
            command,
            check=False,
            capture_output=True,
            text=True,
            env={**threads, **os.environ, **(environment or {})},
        )
        runs = sorted(reports.glob("*/run.json"))
        if not runs:
            printed = "\n".join(f"{done.stdout}{done.stderr}".strip().splitlines()[-LINES:])
            raise ValueError(
                f"pytest ended with code {done.returncode} and left no run; it printed:\n{printed}"
            )
        return read_any(runs[-1])
