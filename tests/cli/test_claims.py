"""`lazarus claims` and `lazarus test`: claims of the package, found, copied and run anywhere."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.reports.run import read_run


def test_words_find_claims_with_their_statements(capsys):
    """A list by topic, each claim with its statement; --json has sources and thresholds too."""
    assert main(["claims", "trailing-space"]) == 0
    text = capsys.readouterr().out
    assert "trailing-space-decides-answer" in text
    assert "Without the space at its end" in text
    assert text.endswith("1 claim\n")
    assert main(["claims", "trailing-space", "--json"]) == 0
    (claim,) = json.loads(capsys.readouterr().out)["claims"]
    assert (claim["id"], claim["threshold"], claim["trains"]) == ("trailing-space-decides-answer", 0.5, False)


def test_what_no_claim_holds_is_one_line(capsys):
    """An unknown word or topic is an error of one line."""
    assert main(["claims", "nosuchword"]) == 2
    assert capsys.readouterr().err == "error: no claim holds 'nosuchword'; `lazarus claims` lists all\n"
    assert main(["test", "-m", "organism", "--topic", "nosuchtopic"]) == 2
    assert "there is no topic 'nosuchtopic'" in capsys.readouterr().err


def test_copies_say_how_to_run_them(capsys, tmp_path):
    """The copied files are listed, and the command that runs them."""
    assert main(["claims", "trailing-space", "--copy", str(tmp_path / "mine")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"Run them: pytest {tmp_path / 'mine'} --probe-model organism"
    assert all(Path(line).is_file() for line in lines[:-1])


@pytest.mark.nested
def test_a_claim_runs_in_any_folder(tmp_path):
    """In a folder with settings of its own, the claim is tested as in a clone, and its run is written there."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --no-such-option\n")
    command = [sys.executable, "-m", "lazarus_probe.cli.lazarus", "test", "-m", "organism", "trailing-space"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert "1 of 1  refuted        trailing-space-decides-answer 0.00" in done.stdout, done.stderr
    (run,) = tmp_path.glob("reports/*/run.json")
    assert [str(record.outcome) for record in read_run(run).claims] == ["refuted"]
    assert done.returncode == 1


def test_quick_leaves_nothing_of_what_trains(capsys):
    """Where only training claims were chosen, --quick says so."""
    assert main(["test", "-m", "organism", "--quick", "sentiment-vo-creates"]) == 2
    assert "leave --quick out" in capsys.readouterr().err


def test_a_shard_of_the_claims_is_pytests(tmp_path, monkeypatch):
    """`--shard` is handed on to pytest, which refuses one that there is not."""
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    assert main(["test", "-m", "organism", "--topic", "stream", "--shard", "2/5"]) == 0
    (command,) = commands
    assert command[command.index("--probe-shard") + 1] == "2/5"


@pytest.mark.parametrize("name", ["test", "claims"])
def test_an_unknown_model_or_folder_is_refused_before_anything_runs(name, capsys, tmp_path):
    """A model that is not there, a folder that has the file already."""
    if name == "test":
        assert main(["test", "-m", "no/such-model"]) == 2
    else:
        (tmp_path / "conftest.py").write_text("")
        assert main(["claims", "trailing-space", "--copy", str(tmp_path)]) == 2
        assert "is there already: give another folder" in capsys.readouterr().err
