"""Annotations of GitHub: which claims have one, where they point, and that nothing in them is a command."""

from __future__ import annotations

import re

import pytest

from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.cli.lazarus import main
from lazarus_probe.reports.versions.annotations import workflow_commands
from lazarus_probe.reports.versions.compare import compare_runs
from lazarus_probe.reports.versions.sides import run_side
from lazarus_probe.reports.write import write_run

PLACE = r"(?:file=(?P<file>[^,]*),)?(?:line=(?P<line>\d+),)?"
COMMAND = re.compile(rf"::(error|notice) {PLACE}title=(?P<title>[^:]*)::(?P<text>.*)")


@pytest.fixture
def versions(make_full_run):
    """A run, and another one in which what the first called supported is refuted."""
    now = make_full_run(claims=6, layers=1)
    old, new = (
        [
            record.model_copy(update={"outcome": outcome, "alone": outcome, "known": None})
            for record in now.claims
        ]
        for outcome in (Outcome.SUPPORTED, Outcome.REFUTED)
    )
    return now.model_copy(update={"claims": old, "broken": []}), now.model_copy(update={"claims": new})


def commands_of(versions, root):
    old, new = (run_side(run, name) for run, name in zip(versions, ("old", "new"), strict=True))
    return [COMMAND.fullmatch(line) for line in workflow_commands(compare_runs(old, new), root)]


def test_each_changed_claim_is_an_error_at_its_test(versions, tmp_path):
    """File and line are those of the test's function in the checkout; where there is none, neither is said."""
    functions = "".join(f"def test_{number}(subject):\n    pass\n\n" for number in (3, 0, 1))
    (tmp_path / "test_c.py").write_text(functions)
    found = {match["title"]: match for match in commands_of(versions, tmp_path)}
    assert {title for title in found if title.startswith("claim-")} == {
        record.key for record in versions[1].claims
    }
    assert (found["claim-3"]["file"], found["claim-3"]["line"]) == ("test_c.py", "1")
    assert (found["claim-1"]["file"], found["claim-1"]["line"]) == ("test_c.py", "7")
    assert (found["claim-2"]["file"], found["claim-2"]["line"]) == ("test_c.py", None)
    assert "lost: was supported" in found["claim-0"]["text"]
    assert all(match[1] == "error" for match in found.values())


def test_tests_elsewhere_are_not_read(versions, tmp_path):
    """A test that is not in the checkout, as one of a run from elsewhere may say, has no place."""
    (tmp_path / "test_c.py").write_text("def test_0(): ...\n")
    root = tmp_path / "checkout"
    root.mkdir()
    outside = [record.model_copy(update={"test": "../test_c.py::test_0"}) for record in versions[1].claims]
    matches = commands_of((versions[0], versions[1].model_copy(update={"claims": outside})), root)
    assert all(match["file"] is None for match in matches)


def test_nothing_in_an_annotation_is_a_command(versions, tmp_path):
    """Line breaks, commas and colons of names and errors are escaped, and each annotation is a line."""
    broken = versions[1].broken[0].model_copy(update={"test": "a.py::b,c", "error": "100%\n::error::no\r"})
    new = versions[1].model_copy(update={"broken": [broken]})
    lines = [match[0] for match in commands_of((versions[0], new), tmp_path)]
    assert not any("\n" in line or "\r" in line for line in lines)
    (told,) = [line for line in lines if "title=a.py%3A%3Ab%2Cc" in line]
    assert "100%25%0A::error::no" in told


def test_the_command_prints_them(versions, tmp_path, capsys):
    """`report compare --annotations` prints them before the comparison; with --json there is no room for them."""
    sides = [
        str(write_run(run.model_copy(update={"run": name}), tmp_path / name))
        for name, run in zip(("old", "new"), versions, strict=True)
    ]
    assert main(["report", "compare", *sides, "--annotations"]) == 3  # a test broke, too
    printed = capsys.readouterr().out
    assert printed.startswith("::error ")
    assert "lost" in printed
    assert main(["report", "compare", *sides, "--annotations", "--json"]) == 2
    assert "give one of them" in capsys.readouterr().err
