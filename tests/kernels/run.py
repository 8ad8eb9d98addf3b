"""Runs the tests and the hypotheses under each kernel, and says where they pass and which verdicts differ.

make kernels
python -m tests.kernels.run --kernels SSE4_2,off --tests tests/hooks --hypotheses hypotheses/classifiers
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lazarus_probe.claims.baseline import read_baseline
from lazarus_probe.claims.record import ClaimRecord
from lazarus_probe.reports.run import read_run
from tests.kernels.kernels import NAMES, ROOT, Kernel, Loaded, environment, kernel, loaded

BASELINES = ROOT / "reports" / "baselines"
EVERY_CLAIM = ["hypotheses"]
COLUMNS = ("kernel", "multiplies with", "NumPy's", "tests", "verdicts", "minutes")


@dataclass(frozen=True)
class Tests:
    """The result of a run of pytest: how many passed, and which did not."""

    passed: int
    failed: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.passed} passed, {len(self.failed)} failed"


@dataclass(frozen=True)
class Verdicts:
    """How the verdicts compare with the baselines: how many were compared, and in words each that differs."""

    compared: int
    differing: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.differing)} of {self.compared} differ" if self.differing else f"{self.compared} equal"
        )


@dataclass(frozen=True)
class Line:
    """A kernel's line of the table."""

    kernel: str
    loaded: Loaded | None
    skipped: str = ""
    broken: str = ""
    tests: Tests | None = None
    verdicts: Verdicts | None = None
    seconds: float = 0.0

    @property
    def right(self) -> bool:
        """Whether nothing failed or broke and no verdict differs; what was skipped did neither."""
        differing = self.verdicts.differing if self.verdicts else ()
        return not (self.broken or differing or (self.tests.failed if self.tests else ()))

    def cells(self) -> tuple[str, ...]:
        """By column."""
        if self.loaded is None:
            return (self.kernel, f"skipped: {self.skipped}", "", "", "", "")
        used = f"{self.loaded.version}, {' '.join(self.loaded.modules)}"
        outcome = (str(each) if each else "not run" for each in (self.tests, self.verdicts))
        return (self.kernel, used, self.loaded.numpy, *outcome, f"{self.seconds / 60:.1f}")


def read_tests(path: Path, code: int) -> Tests:
    """Read what pytest's --junitxml wrote.

    Raises:
        ValueError: pytest wrote none, ran no test, or ended otherwise than with its tests passed or failed.
    """
    log = path.with_suffix(".log")
    if not path.exists():
        raise ValueError(f"pytest wrote no {path.name}: see {log}")
    cases = list(ElementTree.parse(path).iter("testcase"))
    if not cases:
        raise ValueError(f"pytest ran no test: see {log}")
    failed = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = sum(case.find("skipped") is not None for case in cases)
    names = tuple(f"{case.get('classname')}::{case.get('name')}" for case in failed)
    if code != int(bool(failed)):
        raise ValueError(f"pytest ended with {code} and {len(failed)} failed: see {log}")
    return Tests(len(cases) - len(failed) - skipped, names)


def compare(found: Mapping[str, str], baseline: Mapping[str, str]) -> Verdicts:
    """Hold verdicts, by claim, against those of a baseline; a claim that is in one of both only differs too."""
    keys = sorted(found.keys() | baseline.keys())
    pairs = [(key, baseline.get(key, "not there"), found.get(key, "not there")) for key in keys]
    return Verdicts(len(keys), tuple(f"{key}: {old} -> {new}" for key, old, new in pairs if old != new))


def pytest(under: Kernel, log: Path, *arguments: str) -> int:
    """Run pytest under a kernel; what it prints goes to a file, and its exit code comes back."""
    command = [sys.executable, "-m", "pytest", *arguments, "-q", "--tb=short"]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as stream:
        done = subprocess.run(
            command, cwd=ROOT, env=environment(under), stdout=stream, stderr=subprocess.STDOUT, check=False
        )
    return done.returncode


def run_tests(under: Kernel, paths: Sequence[str], folder: Path, workers: int, *, slow: bool = True) -> Tests:
    """The package's own tests under a kernel, those marked slow too or those of `make test` alone.

    Raises:
        ValueError: pytest did not end by itself.
    """
    report = folder / under.name / "tests.xml"
    report.unlink(missing_ok=True)
    # Tests that record properties refuse to be written in pytest's own dialect of JUnit.
    options = [
        *("-m", "not long" if slow else "not slow and not long"),
        "--benchmark-skip",
        f"--junitxml={report}",
        "--override-ini=junit_family=xunit1",
        *parallel(workers),
    ]
    code = pytest(under, report.with_suffix(".log"), *paths, *options)
    return read_tests(report, code)


def run_hypotheses(
    under: Kernel, paths: Sequence[str], models: Sequence[str], folder: Path, workers: int
) -> Verdicts:
    """The hypotheses under a kernel, each model's held against its baseline by the plugin, as in any run.

    Raises:
        ValueError: a run broke, or wrote no report.
    """
    found: dict[str, str] = {}
    known: dict[str, str] = {}
    for model in models:
        baseline = BASELINES / f"{model}.json"
        reports = folder / under.name / f"hypotheses-{model}-{time.time_ns()}"
        options = [f"--probe-model={model}", f"--probe-baseline={baseline}", f"--probe-report={reports}"]
        pytest(under, reports.with_suffix(".log"), *paths, *options, *parallel(workers))
        written = list(reports.glob("*/run.json"))
        if not written:
            raise ValueError(f"the hypotheses wrote no report: see {reports.with_suffix('.log')}")
        done = read_run(written[0])
        if done.broken:
            raise ValueError(f"a hypothesis broke: {done.broken[0].test}: {done.broken[0].error}")
        if list(paths) == EVERY_CLAIM:  # those that a chosen file leaves out are not missing
            claims = read_baseline(baseline).claims
            known |= {f"{model}: {key}": str(verdict.outcome) for key, verdict in claims.items()}
        for record in done.claims:
            before, now = held(record)
            known[f"{model}: {record.key}"], found[f"{model}: {record.key}"] = before, now
    return compare(found, known)


def held(record: ClaimRecord) -> tuple[str, str]:
    """A claim's verdict in the baseline and now: the final ones, or of the tests alone where part of a family ran."""
    if record.known is None or record.expected is None:
        return ("declared otherwise" if record.known else "not there"), str(record.outcome)
    before = str(record.expected)
    now = record.alone if record.known.compared == "alone" else record.outcome
    return before, str(now) if record.changed else before


def parallel(workers: int) -> list[str]:
    """Options of pytest that share the files among workers; one needs none."""
    return ["-n", str(workers), "--dist", "loadfile"] if workers > 1 else ["-p", "no:xdist"]


def measure(name: str, options: argparse.Namespace) -> Line:
    """One kernel's line."""
    try:
        under = kernel(name)
        used = loaded(under)
    except LookupError as reason:
        return Line(name, None, str(reason))
    print(f"{name}: {used.version}, {' '.join(used.modules)}", flush=True)
    began, folder = time.monotonic(), Path(options.output).resolve()
    tests = verdicts = None
    broken = ""
    try:
        if options.tests:
            tests = run_tests(under, options.tests, folder, options.workers, slow=not options.fast)
        if options.hypotheses:
            models = options.models.split(",")
            verdicts = run_hypotheses(under, options.hypotheses, models, folder, options.workers)
    except ValueError as error:  # the other kernels are still run
        broken = str(error)
    return Line(name, used, "", broken, tests, verdicts, time.monotonic() - began)


def table(lines: Sequence[Line]) -> str:
    """The lines as a table, and below it what failed and what differs."""
    rows = [COLUMNS, *(line.cells() for line in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for line in lines:
        text += [f"{line.kernel} broke: {line.broken}"] if line.broken else []
        text += [f"{line.kernel} failed: {name}" for name in (line.tests.failed if line.tests else ())]
        text += [
            f"{line.kernel} differs: {name}" for name in (line.verdicts.differing if line.verdicts else ())
        ]
    return "\n".join(each.rstrip() for each in text)


def options_of(arguments: Sequence[str]) -> argparse.Namespace:
    """What was asked for on the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kernels", default=",".join(NAMES), help="names, separated by commas")
    parser.add_argument(
        "--tests", nargs="*", default=["tests"], metavar="PATH", help="none: no tests are run"
    )
    parser.add_argument(
        "--hypotheses", nargs="*", default=EVERY_CLAIM, metavar="PATH", help="none: none are run"
    )
    parser.add_argument("--models", default="organism,organism-rlvf", help="each has a baseline")
    parser.add_argument("--fast", action="store_true", help="leave out the tests that `make test` leaves out")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", default="build/kernels", help="where pytest's output goes")
    chosen = parser.parse_args(arguments)
    unknown = set(chosen.kernels.split(",")) - set(NAMES)
    if unknown:
        parser.error(f"there is no kernel {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    return chosen


def main(arguments: Sequence[str]) -> int:
    """Run each kernel and print the table; 1 where something failed or differs, or every kernel was skipped."""
    options = options_of(arguments)
    lines = []
    for name in options.kernels.split(","):
        lines.append(measure(name, options))
        print(table(lines), end="\n\n", flush=True)
    return int(not all(line.right for line in lines) or all(line.loaded is None for line in lines))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
