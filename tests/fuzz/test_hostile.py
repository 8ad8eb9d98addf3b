"""What strangers hand over is refused in one line: no traceback, no hang, no full memory, and none of its code runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import hostile_run
import hostile_worker

FOLDERS = ("generate", "adapter")
FEWEST = {"folders": 300, "files": 400}


def of_part(part: str, whole: bool, step: int = 2) -> list[int]:
    """The numbers of all inputs of a part, or of every so many that are not slow."""
    everything = enumerate(hostile_worker.inputs())
    chosen = [(number, one) for number, one in everything if (one.reader in FOLDERS) == (part == "folders")]
    if whole:
        return [number for number, _ in chosen]
    return [number for number, one in chosen if not one.slow][::step]


def faults(numbers: list[int], scratch: Path) -> list[str]:
    """What came of each input that was not refused in one line."""
    return [
        f"{result.fault}: {result.input.reader}: {result.input.kind}: {result.input.name}: {result.detail[-300:]}"
        for result in hostile_run.results(numbers, scratch)
        if result.fault
    ]


def test_some_hostile_inputs_are_refused_in_one_line(tmp_path):
    """Some folders and files of every kind, each under a limit of time and memory, end in one line and exit code 2."""
    numbers = [number for part in FEWEST for number in of_part(part, whole=False, step=40)]
    assert len(numbers) > 20
    assert faults(numbers, tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("part", FEWEST)
def test_hostile_inputs_are_refused_in_one_line(part, tmp_path):
    """Hundreds of folders and files, each under a limit of time and memory, end in one line and exit code 2."""
    numbers = of_part(part, whole=False)
    assert len(numbers) >= FEWEST[part]
    assert faults(numbers, tmp_path) == []


@pytest.mark.long
@pytest.mark.parametrize("part", FEWEST)
def test_all_hostile_inputs_are_refused_in_one_line(part, tmp_path):
    """So do all of them."""
    assert faults(of_part(part, whole=True), tmp_path) == []


def test_a_fault_is_told_from_a_refusal():
    """What the run looks for is found: a traceback, two lines, an input that was taken, code that ran."""
    one = hostile_worker.inputs()[1]
    right = {"code": 2, "errors": "error: x\n", "ran": False, "peak": 0}
    assert hostile_run.fault_of(one, right) == ""
    wrong = {
        "traceback": {"code": "Traceback"},
        "lines": {"errors": "error: x\nerror: y\n"},
        "taken": {"code": 0},
        "code ran": {"ran": True},
        "memory": {"peak": 3 << 30},
        "hang": {"fault": "hang"},
    }
    for fault, change in wrong.items():
        assert hostile_run.fault_of(one, {**right, **change}) == fault


def test_the_memory_of_an_input_is_its_own(tmp_path):
    """What the process that starts the inputs holds is none of theirs."""
    held = bytearray(1 << 30)
    held[:: 1 << 12] = b"x" * (1 << 18)
    (result,) = hostile_run.results(of_part("files", whole=False)[:1], tmp_path)
    assert 0 < result.peak < len(held)
