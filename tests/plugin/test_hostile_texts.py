"""Texts and values that no file, terminal or worker can hold: spelled out, or refused where they are made."""

from __future__ import annotations

import re
from xml.etree import ElementTree

import pytest

from lazarus_probe.reports.run_log import read_any

pytest_plugins = ["pytester"]

SUITE = r"""
from lazarus_probe.statistics.measurement import Example

@claim("first")
def test_first(evidence):
    evidence.record(measured(0.95, p=0.001))

@claim("no-measurement")
@pytest.mark.parametrize("value", [0.9, {"a": 1}, None, measured(0.95, unit=3)], ids=["float", "dict", "none", "unit"])
def test_no_measurement(evidence, value):
    evidence.record(value)

@claim("no-words")
def test_no_words(evidence):
    evidence.require(False, 0.3)

@claim("prompt")
def test_prompt(evidence):
    example = Example("a\ud800b\x1b[31m\x00", "x\ufffe", "\u202e", True)
    details = {"k\ud800": "v\ud900", "e": "\x1b"}
    where = "p\n::error::hey"
    evidence.record(measured(0.5, unit="acc\x1b\x01\x00 \ud801", place=where, examples=(example,), details=details))

@claim("reason")
def test_reason(evidence):
    evidence.require(False, "no\ud800\n::error title=x::boo\x1b[31m\x00 ##[error]z")

@claim("raises")
def test_raises(evidence):
    raise ValueError("a\ud800\x1b[31m\x00\n::error title=x::boo")

@claim("asserts")
def test_asserts(evidence):
    assert "\ud800\x1b\x00" == "\n::error::x"

def deep(n):
    return [deep(n - 1)] if n else 1

DETAILS = [{"a": deep(400)}, {"n": 10**5001}, {(1, 2): 3}, {"o": object()}, {1: 2, "1": 3}]

@claim("details")
@pytest.mark.parametrize("how", range(5))
def test_details(evidence, how):
    evidence.record(measured(0.95, details=DETAILS[how]))

@claim("last")
def test_last(evidence):
    evidence.record(measured(0.95, p=0.001))
"""
RAW = re.compile(r"[\x00-\x08\x0b-\x1f\ud800-\udfff]")
COMMAND = re.compile(r"^\s*::|##\[", re.MULTILINE)


@pytest.fixture(
    params=[(), pytest.param(("-pxdist.plugin", "-n2"), marks=pytest.mark.slow)], ids=["alone", "xdist"]
)
def ran(request, project, monkeypatch):
    """The suite has run as part of a CI job; alone, its report in a folder whose name is no UTF-8."""
    project.use_stub()
    project.write(SUITE)
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(project.pytester.path / "step.md"))
    name = "r" if request.param else "r\udcff"
    # Plain lines, as a CI host has them: pytest's own colours are no text of a model's.
    result = project.run_apart("--color=no", "--junitxml=junit.xml", f"--probe-report={name}", *request.param)
    (folder,) = (project.pytester.path / name).iterdir()
    return project.pytester.path, folder, result


def test_nothing_is_lost(ran):
    """Every claim but the bad ones has its verdict, and each of those is one failed test that says what is right."""
    _, folder, result = ran
    assert result.ret == 1
    assert "INTERNALERROR" not in result.stdout.str() + result.stderr.str()
    run = read_any(folder)
    assert {record.claim.id: str(record.outcome) for record in run.claims} == {
        "first": "supported",
        "last": "supported",
        "prompt": "refuted",
        "reason": "not applicable",
    }
    assert not run.partial
    assert run.broken == read_any(folder / "run.jsonl").broken
    errors = {broken.test.partition("::test_")[2]: broken.error for broken in run.broken}
    assert len(errors) == 12
    told = {
        "no_measurement[float]": "evidence.record takes one Measurement, not float 0.9; give evidence.record(rate(",
        "no_measurement[unit]": "the measurement's unit cannot be kept on a report: ",
        "no_words": "evidence.require takes whether a precondition holds and the precondition in words",
        "details[0]": "details is nested more than 20 deep",
        "details[1]": "details holds an integer of 16613 bits",
        "details[2]": "details has the key (1, 2) (tuple)",
        "details[4]": "details has the key '1' twice",
    }
    assert [test for test, text in told.items() if text not in errors[test]] == []
    (prompt,) = [record for record in run.claims if record.claim.id == "prompt"]
    assert prompt.measurement.details == {
        r"k\ud800": r"v\ud900",
        "e": "\x1b",
    }  # what JSON can hold stays as it was
    assert prompt.measurement.examples[0].prompt == "a\\ud800b\x1b[31m\x00"


def test_nothing_is_raw(ran):
    """Terminal, page, summaries and junitxml spell control characters out, and no line is a CI host's command."""
    path, folder, result = ran
    output = result.stdout.str() + result.stderr.str()
    texts = {name: (folder / name).read_text() for name in ("index.html", "summary.md")}
    texts |= {"terminal": output, "step.md": (path / "step.md").read_text()}
    assert [name for name, text in texts.items() if RAW.search(text)] == []
    assert not COMMAND.search(output)
    assert not re.search(r"^\s*::", texts["step.md"], re.MULTILINE)
    properties = ElementTree.parse(path / "junit.xml").iter("property")
    reasons = {each.get("value") for each in properties if each.get("name") == "reason"}
    assert r"no\ud800\n::error title=x::boo\x1b[31m\x00 \x23#[error]z" in reasons


def test_workers_are_given_utf8(project):
    """A name that pytest-xdist cannot hand to its workers is refused in one line."""
    project.use_stub()
    project.write(SUITE)
    result = project.run_apart("-pxdist.plugin", "-n2", "--probe-report=r\udcff")
    assert result.ret == 4
    assert r"ERROR: --probe-report 'r\udcff' is not UTF-8, which pytest-xdist needs: " in result.stderr.str()
