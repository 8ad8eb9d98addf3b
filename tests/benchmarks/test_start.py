"""How long help and errors take, as whole processes."""

from __future__ import annotations

import subprocess
import sys

import pytest

LINES = {
    "help of a group": ["introspect", "--help"],
    "help of a command": ["introspect", "analyze", "--help"],
    "unknown option": ["introspect", "ablate", "--nonsense"],
    "layer that is not there": [
        "introspect",
        "patch",
        "-m",
        "organism",
        "--source",
        "a",
        "--target",
        "b",
        "--layers",
        "9",
    ],
}


@pytest.mark.parametrize("what", LINES)
def test_start(benchmark, what: str):
    """Help, and an error that needs no model, come before anything heavy is imported (`tests/cli/test_start.py`)."""
    command = [sys.executable, "-m", "lazarus_probe.cli.lazarus", *LINES[what]]
    done = benchmark.pedantic(subprocess.run, [command], {"capture_output": True}, rounds=7)
    assert done.returncode in (0, 2)
