"""What a claim's test prints, logs, warns of, records or skips with: no part of its report reaches anything raw."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from lazarus_probe.reports.run_log import read_any

pytest_plugins = ["pytester"]

SUITE = r"""
import logging, os, warnings

RAW = "a\ud800\x1b[31m\x00\n::error title=x::boo\n##vso[task.setvariable]x ##teamcity[x] \u202e"

@claim("prints")
def test_prints(evidence):
    print("\x1b[2J\n::error::printed\n##[error]x")
    os.write(2, b"\xff\n::error::written\n")
    logging.getLogger("x").warning(RAW)
    raise ValueError("x")

@claim("logs")
def test_logs(evidence):
    logging.getLogger("x").warning(RAW)
    evidence.record(measured(0.95))

@claim("warns")
def test_warns(evidence):
    warnings.warn(RAW)
    evidence.record(measured(0.95))

@claim("property")
def test_property(evidence, record_property):
    record_property("k\ud800", RAW)
    record_property("object", object())
    evidence.record(measured(0.95))

@claim("skips")
def test_skips(evidence):
    pytest.skip(RAW)

@claim("is-skipped")
@pytest.mark.skip(reason=RAW)
def test_is_skipped(evidence):
    evidence.record(measured(0.95))

@claim("may-fail")
def test_may_fail(evidence):
    pytest.xfail(RAW)

@claim("last")
def test_last(evidence):
    evidence.record(measured(0.95))
"""
COMMAND = re.compile(r"^\s*::|##(vso|teamcity)?\[", re.MULTILINE)


@pytest.mark.parametrize(
    "options", [(), pytest.param(("-pxdist.plugin", "-n2"), marks=pytest.mark.slow)], ids=["alone", "xdist"]
)
def test_nothing_of_a_report_is_raw(project, options):
    """Every other claim keeps its verdict, the terminal and junitxml hold text alone, and no line is a command."""
    project.use_stub()
    project.write(SUITE)
    result = project.run_apart("--color=no", "--junitxml=junit.xml", "-rA", *options)
    assert result.ret == 1
    output = result.stdout.str() + result.stderr.str()
    assert "INTERNALERROR" not in output
    assert not re.search(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]", output)
    assert not COMMAND.search(output)
    (folder,) = (project.pytester.path / "reports").iterdir()
    run = read_any(folder)
    assert {record.claim.id for record in run.claims} == {"logs", "warns", "property", "last"}
    assert [broken.claim for broken in run.broken] == ["prints"]
    properties = ElementTree.parse(project.pytester.path / "junit.xml").iter("property")
    assert r"k\ud800" in {each.get("name") for each in properties}
    # A claim that pytest skips has no verdict, and a whole run has one of each.
    assert run.how_partial == "partial: 4 of 8 claims"
