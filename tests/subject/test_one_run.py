"""One run of several processes: who prints and writes, and how it ends when one of them fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_flatten

from lazarus_probe.cli.lazarus import main
from lazarus_probe.subject import Subject
from lazarus_probe.subject.watch import GRACE
from tests.cases import nested_except, slow_except
from tests.processes import Ended, run_ranks


def _run(case: str, folder: Path) -> list[Ended]:
    return run_ranks(2, ["-m", "tests.subject.one_run", case, str(folder)], folder)


@pytest.mark.parametrize("case", nested_except(["works", "works in stages", "works on batches"], "works"))
def test_the_first_process_prints_and_writes(tmp_path: Path, organism: Subject, case: str) -> None:
    """A command on two processes prints once, writes the first one's files, and tells the whole model's fingerprint."""
    first, second = _run(case, tmp_path)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert (tmp_path / "written").read_text() == "0"
    assert second.out == ""
    assert "the run of 2 processes ends" not in first.err + second.err, "it ends as it should"
    shown: dict[str, Any] = json.loads(first.out)
    assert shown["ok"]
    assert shown["fingerprint"] == organism.fingerprint


@pytest.mark.nested
def test_a_stage_has_its_own_blocks_alone(tmp_path: Path, organism: Subject) -> None:
    """In a pipeline of two, a process has memory for half of the blocks, and for what is in none."""
    ended = _run("loads", tmp_path)
    assert [process.code for process in ended] == [0, 0], ended[0].err + ended[1].err
    whole = sum(weight.nbytes for _, weight in tree_flatten(organism.model.parameters()))
    blocks = sum(
        weight.nbytes for block in organism.anatomy.blocks for _, weight in tree_flatten(block.parameters())
    )
    for rank in range(2):
        held = int((tmp_path / f"bytes.{rank}").read_text())
        assert held == pytest.approx(whole - blocks / 2, rel=0.02)


@pytest.mark.parametrize("case", nested_except(["raises", "dies"], "raises"))
def test_a_process_that_fails_ends_the_run(tmp_path: Path, case: str) -> None:
    """All processes end within a minute after one of them fails, with its reason where it gives one."""
    first, second = _run(case, tmp_path)
    assert first.ended - (tmp_path / "written").stat().st_mtime < 60
    assert first.code == 2
    assert second.code == (2 if case == "raises" else 7)
    reason = "the disk of this machine is full" if case == "raises" else "ended without a word"
    assert (
        f"error: the run of 2 processes ends: process 1 of 2{': ' if case == 'raises' else ' '}{reason}"
        in first.err
    )
    if case == "raises":
        assert f"error: process 1 of 2: {reason}" in second.err


HANGING = {
    "is killed": "process 1 of 2 ended without a word",
    "sleeps": "no process has computed anything for 8 seconds",
    "freezes": "nothing was heard of process 1 of 2 for 8 seconds",
    "holds the interpreter": "process 1 of 2",
    "is interrupted": "process 1 of 2 was interrupted",
    "is terminated": "process 1 of 2 was interrupted",
}


@pytest.mark.parametrize("case", slow_except(HANGING, "is killed"))
def test_a_process_that_does_not_come_ends_the_run(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that is killed, hangs, freezes or is interrupted ends the others within seconds, with the reason."""
    monkeypatch.setenv("LAZARUS_PATIENCE", "8")
    first, second = _run(case, tmp_path)
    began = (tmp_path / "written").stat().st_mtime
    assert first.code not in (0, None), first.err
    assert second.code not in (0, None), second.err
    assert HANGING[case] in first.err
    assert first.ended - began < 8 + GRACE + 5
    if case == "sleeps":
        assert "process 1 of 2 is at line" in first.err
        assert "one_run.py (mishap)" in first.err


@pytest.mark.slow
def test_a_process_that_computes_is_let_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a process computes, the others wait for it, and the run is over when it is."""
    monkeypatch.setenv("LAZARUS_PATIENCE", "8")
    first, second = _run("is slow", tmp_path)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert json.loads(first.out)["ok"]


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan"])
def test_patience_is_a_number_of_seconds(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A patience that is no positive number of seconds is refused by its name and value."""
    monkeypatch.setenv("LAZARUS_PATIENCE", text)
    assert main(["anatomy", "-m", "organism", "--parallel", "tensor"]) == 2
    assert f"LAZARUS_PATIENCE is {text!r}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--parallel", "tensor"], "mlx.launch -n 2"),
        (["--parallel", "data"], "mlx.launch -n 2"),
        (["--parallel=tensors"], "did you mean"),
    ],
)
def test_a_run_of_one_process_is_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One process, or an unknown way of splitting models, is refused before anything is loaded."""
    assert main(["anatomy", "-m", "organism", *words]) == 2
    assert reason in capsys.readouterr().err


def test_batches_of_one_process_are_refused() -> None:
    """A model whose batches are to be dealt needs processes to deal them to."""
    with pytest.raises(ValueError, match=r"parallel 'data' needs several processes.*mlx\.launch -n 2"):
        Subject.load("organism-untrained", parallel="data")


def test_an_adapter_is_refused() -> None:
    """A model that is split takes no adapter, which is said before the model is loaded."""
    with pytest.raises(ValueError, match="takes no adapter"):
        Subject.load("organism", adapter="nowhere", parallel="tensor")
