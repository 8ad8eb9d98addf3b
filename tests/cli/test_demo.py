from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lazarus_probe.cli import demo
from lazarus_probe.cli.lazarus import main


@pytest.mark.nested
def test_one_of_each_outcome_without_a_network(tmp_path, monkeypatch, capsys):
    """In an empty folder the three claims come out supported, confounded and refuted, and the page is there."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["demo", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [each["claim"] for each in printed["verdicts"]] == [*demo.CLAIMS]
    assert [each["outcome"] for each in printed["verdicts"]] == ["supported", "confounded", "refuted"]
    page = Path(printed["report"])
    assert page.is_file()
    record = {
        each["claim"]["id"]: each for each in json.loads((page.parent / "run.json").read_text())["claims"]
    }
    monkeypatch.setattr(subprocess, "run", _nothing)
    monkeypatch.setattr(demo, "_runs", _before_and_after(page.parent))
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["demo"]) == 0
    text = capsys.readouterr().out
    for claim, outcome in zip(demo.CLAIMS, ("SUPPORTED", "CONFOUNDED", "REFUTED"), strict=True):
        assert f"{outcome}  {claim}\n" in text
        assert record[claim]["claim"]["statement"] in " ".join(text.split())
        assert demo.MEANS[outcome.lower()] in " ".join(text.split())
    assert str(page) in text
    assert max(map(len, text.splitlines()[2:-2])) <= 80


def test_a_demo_that_cannot_run_says_why(tmp_path, monkeypatch, capsys):
    """Where pytest gives no verdict its own words are in the error, and the exit code is 2."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", _nothing)
    assert main(["demo"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: patching-transfers-answer, ")
    assert "no such thing" in error


def _nothing(*_: object, **__: object) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([sys.executable], 4, "no such thing", "")


def _before_and_after(folder: Path):
    answers = iter([set(), {folder}])
    return lambda _: next(answers)
