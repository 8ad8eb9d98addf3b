"""Changed claims as annotations of GitHub: each at the line of its test, where that is in the checkout."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.files.reading import read_text
from lazarus_probe.reports.versions.compare import Comparison, Line
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.untrusted import visible

UNTOLD = ("unchanged", "new")
MOST = 50  # GitHub shows ten errors and ten warnings a step


def workflow_commands(comparison: Comparison, root: Path) -> Iterator[str]:
    """A workflow command for each claim that changed: an error where that fails the comparison, else a notice.

    Args:
        comparison: of two versions.
        root: the checkout, from which tests are named.
    """
    failing = {"broken", "gone", *comparison.fail_on}
    lines = [line for line in comparison.lines if line.group not in UNTOLD]
    for line in sorted(lines, key=lambda line: line.group not in failing)[:MOST]:
        level = "error" if line.group in failing else "notice"
        test = comparison.new.tests.get(
            (line.model, line.claim), line.claim
        )  # one without a claim is its own
        places = {**_place(test, root), "title": line.claim}
        properties = ",".join(f"{name}={_property(value)}" for name, value in places.items())
        yield f"::{level} {properties}::{_data(_told(line))}"


def _told(line: Line) -> str:
    if line.error:
        return f"{line.model}: its test broke: {line.error}"
    before, now = (_one(record) for record in (line.old, line.new))
    return f"{line.model}: {line.group}: was {before}, now {now}"


def _one(record: BaselineRecord | None) -> str:
    if record is None:
        return "absent"
    if record.score is None or record.low is None or record.high is None:
        return str(record.outcome)
    return f"{record.outcome} {estimate(record.score, record.low, record.high)}"


def _place(test: str, root: Path) -> dict[str, str]:
    """File and line of a test's name, as in `test_a.py::test_b[model]`; empty where the file is not in the checkout."""
    name, _, function = test.partition("::")
    file = root / name
    if not name or not file.resolve().is_relative_to(root.resolve()) or not file.is_file():
        return {}
    try:
        text = read_text(file)
    except (OSError, UnicodeDecodeError):
        return {"file": name}
    own = function.rpartition("::")[2].partition("[")[0]
    definition = re.search(rf"^\s*(?:async\s+)?def {re.escape(own)}\(", text, re.MULTILINE) if own else None
    return {"file": name} | ({"line": str(text[: definition.end()].count("\n") + 1)} if definition else {})


def _data(text: str) -> str:
    """Text that ends where it ends: GitHub reads percent signs and line breaks as escapes."""
    return visible(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
