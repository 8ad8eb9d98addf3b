"""Before the first test a session says how long it will take, and at its end its result."""

from __future__ import annotations

import json
import subprocess
import time

import pytest

from lazarus_probe.claims import library
from lazarus_probe.plugin import expected
from lazarus_probe.plugin.expected import measured_seconds
from lazarus_probe.reports.run import read_run

pytest_plugins = ["pytester"]

SUITE = """
@claim("right")
def test_right(evidence):
    evidence.record(measured(0.95, p=0.01))

@claim("wrong-where-its-name-is-a-long-one")
@pytest.mark.parametrize("where", [1, 2])
def test_wrong(evidence, where):
    evidence.record(measured(0.5))

@claim("elsewhere")
def test_elsewhere(evidence):
    evidence.require(False, "has no heads")
"""
COUNTS = "4 verdicts: 1 supported, 2 refuted, 1 not applicable"


def test_verdicts_are_counted_at_the_end(project):
    """The counts by verdict stand above the report's path, in the order in which verdicts are explained."""
    project.write(SUITE)
    lines = project.run().stdout.lines
    place = lines.index(COUNTS)
    assert lines[place + 1].startswith("report: ")


@pytest.mark.parametrize(("option", "code"), [("yes", "\x1b[32m1 supported\x1b[0m"), ("no", "1 supported")])
def test_verdicts_have_colours_where_pytest_does(project, option, code):
    """--color decides: green in the table and in the counts, or no code at all."""
    project.write(SUITE)
    text = project.run(f"--color={option}").stdout.str()
    assert f"4 verdicts: {code}, " in text
    table = text[text.index("claims") :]
    assert ("\x1b[32msupported" in table) == (option == "yes")
    assert option == "yes" or "\x1b" not in text


def test_a_narrow_terminal_drops_columns(project, monkeypatch):
    """At 60 columns no line of the table is longer, each verdict is in it, and a long name has a line of its own."""
    monkeypatch.setenv("COLUMNS", "60")
    project.write(SUITE)
    lines = project.run("--tb=no").stdout.lines
    start = next(index for index, line in enumerate(lines) if "= claims =" in line)
    start = next(index for index, line in enumerate(lines) if index > start and line.startswith("claim "))
    table = lines[start : lines.index("", start)]
    assert max(map(len, table)) <= 60
    assert "best control" not in table[0]
    assert [line.strip() for line in table].count("wrong-where-its-name-is-a-long-one[1]") == 1
    assert sum("refuted" in line for line in table) == 2


def test_a_wide_terminal_shows_statements(project, monkeypatch):
    """At 200 columns the statement stands beside the numbers."""
    monkeypatch.setenv("COLUMNS", "200")
    project.write(SUITE)
    project.run("--tb=no").stdout.fnmatch_lines(["right *majority 0.45*It is so."])


def test_the_same_command_is_expected_to_take_as_long(project, monkeypatch):
    """A whole run that is kept says how long the next one takes, and no other command's does."""
    monkeypatch.setattr(expected, "LEAST", 0.01)
    project.write(SUITE)
    first = project.run()
    assert "as long as the same command" not in first.stdout.str()
    (file,) = project.pytester.path.glob("reports/*/run.json")
    run = json.loads(file.read_text())
    assert 0 < run["seconds"] < 60
    file.write_text(json.dumps({**run, "seconds": 240.0}))
    project.run().stdout.fnmatch_lines([f"lazarus_probe: about 4 min: as long as * run {run['run']}"])
    assert "lazarus_probe: about" not in project.run("-v").stdout.str()


def test_claims_that_were_measured_are_expected_to_take_as_long(monkeypatch):
    """The sum over claims, each once; nothing is guessed where most of them were never measured on the model."""
    costs = {"organism": {"a": 30.0, "b": 12.0}}
    monkeypatch.setattr(library, "measured_costs", lambda model: costs.get(model, {}))
    assert measured_seconds(["a", "a", "b", "new"], "organism") == 42.0
    assert measured_seconds(["a", "new", "newer"], "organism") == 0.0
    assert measured_seconds(["a"], "other") == 0.0


def test_a_run_knows_its_duration_and_the_commit_of_its_claims(project):
    """Seconds of the session; the commit, with -dirty where a file was changed since, and none outside git."""
    project.write(SUITE)
    began = time.monotonic()
    project.run()
    took = time.monotonic() - began
    git = ["git", "-C", str(project.pytester.path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    for words in (["init", "-q"], ["add", "test_claims.py"], ["commit", "-qm", "claims"]):
        subprocess.run([*git, *words], check=True)
    project.run()
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout
    project.write(f"{SUITE}\n# changed")
    project.run()
    runs = [read_run(file) for file in sorted(project.pytester.path.glob("reports/*/run.json"))]
    assert 0 < runs[0].seconds <= took + 0.05  # rounded to a tenth
    assert [run.commit for run in runs] == [None, head[:12], f"{head[:12]}-dirty"]
