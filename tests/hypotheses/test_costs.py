"""The seconds of claims, from the XML of a run."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from costs import costs

CASE = '<testcase classname="hypotheses.heads.test_repeated_tokens" name="{name}" time="{time}">{inside}</testcase>'
MODEL = '<properties><property name="model" value="tiny"/></properties>'


def written(folder, name, *cases):
    inside = "".join(
        CASE.format(name=test, time=time, inside=MODEL + skipped) for test, time, skipped in cases
    )
    file = folder / name
    file.write_text(f"<testsuites><testsuite>{inside}</testsuite></testsuites>")
    return file


def test_cases_are_summed_and_the_last_run_that_decides_counts(tmp_path):
    """A claim costs what its cases took together; where it did not apply, what it took on another model."""
    skip = '<skipped message="not applicable: no heads"/>'
    first = written(tmp_path, "a.xml", ("test_induction[a]", 1.0, ""), ("test_induction[b]", 2.0, ""))
    second = written(tmp_path, "b.xml", ("test_induction[c]", 9.0, skip), ("test_previous[c]", 4.0, ""))
    measured = costs(
        [first, second], {"tiny": {"previous-token-head-exists": 1.5, "sinks": 7.0}, "other": {"sinks": 1.0}}
    )
    assert measured["tiny"] == {"induction-head-exists": 3.0, "previous-token-head-exists": 4.0, "sinks": 7.0}
    assert measured["other"] == {"sinks": 1.0}
