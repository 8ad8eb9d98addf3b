"""What the plugin costs beside the work of the claims: its share of a run's CPU time, which no busy machine changes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
MOST = 0.05


def share_of_the_plugin(folder: Path, *arguments: str, without: tuple[str, ...] = ()) -> float:
    """Run hypotheses on the organism; the CPU time in the plugin's hooks, collection to reports, over all of it."""
    times = folder / "times.json"
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "hook_timer",
        "--probe-model",
        "organism",
        *arguments,
    ]
    command += ["--probe-report", str(folder), "--probe-baseline", "none"]
    here = {"PYTHONPATH": str(Path(__file__).parent), "HOOK_TIMES": str(times)}
    environment = {**os.environ, **ONE_THREAD, **here}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED), done.stdout[-2000:]
    found = json.loads(times.read_text())
    assert found["hooks"]["pytest_sessionfinish"] > 0
    return sum(spent for hook, spent in found["hooks"].items() if hook not in without) / found["total"]


@pytest.mark.slow
def test_hooks_cost_little(tmp_path: Path):
    """On two quick claims the plugin takes at most 5% of the CPU time, but for the report, which is written once."""
    only = ("hypotheses/arithmetic/test_patching.py", "-k", "last_position or its_token")
    share = share_of_the_plugin(tmp_path, *only, without=("pytest_sessionfinish",))
    assert share <= MOST


@pytest.mark.slow
def test_suite_costs_little(benchmark: Any, tmp_path: Path):
    """On all of hypotheses/ without training the plugin takes at most 5%, imports and reports and all."""
    benchmark.group = "the plugin's share of hypotheses on the organism"
    only = ("hypotheses", "-m", "not training")
    share = benchmark.pedantic(share_of_the_plugin, (tmp_path, *only), rounds=1)
    benchmark.extra_info["share"] = share
    assert share <= MOST
