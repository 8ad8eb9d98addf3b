"""Batches dealt to processes: each runs its own, and all go on with what one process alone computes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.subject import Subject
from lazarus_probe.subject.dealt import dealt, owner
from tests.processes import run_ranks

Results = list[dict[str, Any]]


def _runs(count: int, folder: Path) -> Results:
    ended = run_ranks(count, ["-m", "tests.subject.dealt_runs", str(folder)], folder)
    assert [process.code for process in ended] == [0] * count, "".join(process.err for process in ended)
    alone = json.loads((folder / "alone.json").read_text())
    of_ranks = [json.loads((folder / f"dealt.{rank}.json").read_text()) for rank in range(count)]
    return [{**result, "alone": alone} for result in of_ranks]


@pytest.fixture(scope="module")
def of_two(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """What each of two processes wrote."""
    return _runs(2, tmp_path_factory.mktemp("dealt"))


def _check_same(results: Results) -> None:
    for result in results:
        assert result["values"] == result["alone"]
        assert len(result["values"]) > 25
        assert result["order"] == [0, 10, 20, 30, 40, 50, 60]


def test_values_are_those_of_one_process(of_two: Results) -> None:
    """Traces, activations, sweeps, attribution and texts of two processes are those of one, to the last bit."""
    _check_same(of_two)


@pytest.mark.slow
def test_values_of_three_processes(tmp_path: Path) -> None:
    """And so are those of three."""
    _check_same(_runs(3, tmp_path))


def test_every_batch_is_run_once(of_two: Results) -> None:
    """Each process runs the batches that are its own and no other, and together they run all of them."""
    assert sorted(index for result in of_two for index in result["ran"]) == list(range(7))
    assert all(result["ran"] == result["owned"] for result in of_two)
    assert {len(result["ran"]) for result in of_two} == {3, 4}


def test_what_one_measures_is_decided_alike(of_two: Results) -> None:
    """A number that each process measures is the first one's in all."""
    assert [result["first"] for result in of_two] == [5.0, 5.0]


def test_an_error_of_a_batch_is_raised_in_all(of_two: Results) -> None:
    """What a batch raises is raised in every process, and so is what fails in one of them alone."""
    for rank, result in enumerate(of_two):
        raised = result["raised"]
        assert raised["everywhere"] == "ValueError: batch 1 cannot be run"
        assert "mlp.down_proj.weight" in raised["not finite"]
        assert ("the disk of this process is full" if rank == 1 else "batch 1 of 4 failed") in raised[
            "in one"
        ]


def test_processes_that_come_apart_are_told(of_two: Results) -> None:
    """Processes that deal other batches raise, rather than take results of one thing for those of another."""
    assert all("run different programs" in result["raised"]["other batches"] for result in of_two)


def test_a_process_that_is_killed_ends_the_run(tmp_path: Path) -> None:
    """A process that is killed in one of its batches ends the other, which says so and waits no longer."""
    first, second = run_ranks(2, ["-m", "tests.subject.dealt_runs", "killed"], tmp_path)
    assert second.code == -signal.SIGKILL
    assert first.code not in (0, None)
    assert "the run of 2 processes ends: process 1 of 2 ended without a word" in first.err
    assert first.ended - second.ended < 60


def test_batches_of_one_process_are_run_in_order(organism: Subject) -> None:
    """In one process each batch is read after the next was started."""
    steps = list[str]()

    def run(batch: int) -> int:
        steps.append(f"run {batch}")
        return batch

    def read(running: int) -> str:
        steps.append(f"read {running}")
        return str(running)

    assert dealt(organism, [0, 1, 2], run, read) == ["0", "1", "2"]
    assert steps == ["run 0", "run 1", "read 0", "run 2", "read 1", "read 2"]


@pytest.mark.parametrize("size", [2, 3, 5])
def test_processes_have_as_many_batches(size: int) -> None:
    """Of batches that grow by one from each to the next, processes have the same sum, up to the last turn."""
    turns = 4
    sums = [
        sum(index for index in range(2 * size * turns) if owner(index, size) == rank) for rank in range(size)
    ]
    assert len(set(sums)) == 1
