"""One run of several processes: who prints and writes, and how it ends when one of them fails."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from mlx.utils import tree_flatten

from lazarus_probe.cli.lazarus import main
from lazarus_probe.subject import Subject
from tests.processes import Ended, run_ranks


def _run(case: str, folder: Path) -> list[Ended]:
    return run_ranks(2, ["-m", "tests.subject.one_run", case, str(folder)], folder)


@pytest.mark.parametrize("case", ["works", "works in stages"])
def test_the_first_process_prints_and_writes(tmp_path: Path, organism: Subject, case: str) -> None:
    """A command on two processes prints once, writes the first one's files, and tells the whole model's fingerprint."""
    first, second = _run(case, tmp_path)
    assert (first.code, second.code) == (0, 0), first.err + second.err
    assert (tmp_path / "written").read_text() == "0"
    assert second.out == ""
    shown: dict[str, Any] = json.loads(first.out)
    assert shown["ok"]
    assert shown["fingerprint"] == organism.fingerprint


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


@pytest.mark.parametrize("case", ["raises", "dies"])
def test_a_process_that_fails_ends_the_run(tmp_path: Path, case: str) -> None:
    """All processes end within a minute after one of them fails, with its reason where it gives one."""
    first, second = _run(case, tmp_path)
    assert time.time() - (tmp_path / "written").stat().st_mtime < 60
    assert first.code == 2
    assert "process 0 of 2: another of the 2 processes ended first" in first.err
    assert second.code == (2 if case == "raises" else 7)
    if case == "raises":
        assert "error: process 1 of 2: the disk of this machine is full" in second.err


@pytest.mark.parametrize(
    ("words", "reason"),
    [(["--parallel", "tensor"], "mlx.launch -n 2"), (["--parallel=tensors"], "did you mean")],
)
def test_a_run_of_one_process_is_refused(
    words: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """One process, or an unknown way of splitting models, is refused before anything is loaded."""
    assert main(["anatomy", "-m", "organism", *words]) == 2
    assert reason in capsys.readouterr().err


def test_an_adapter_is_refused() -> None:
    """A model that is split takes no adapter, which is said before the model is loaded."""
    with pytest.raises(ValueError, match="takes no adapter"):
        Subject.load("organism", adapter="nowhere", parallel="tensor")
