"""Claims that stop when they are known, on the organism: the verdicts of all prompts, from fewer of them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
FILES = [f"hypotheses/arithmetic/test_{name}.py" for name in ("lens_answers", "suffix", "injection")]


def records_of(folder: Path, *options: str) -> dict[str, Any]:
    """The records of the claims on the organism, by claim and parameters."""
    command = [sys.executable, "-m", "pytest", *FILES, "-q", "--probe-report", str(folder), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    (run,) = folder.glob("*/run.json")
    claims = json.loads(run.read_text())["claims"]
    assert claims, done.stdout + done.stderr
    return {record["claim"]["id"] + record["parameters"]: record for record in claims}


@pytest.mark.slow
def test_verdicts_are_those_of_all_prompts(tmp_path: Path) -> None:
    """Every verdict is the same, the known ones are of fewer prompts, and those not known of all prompts."""
    whole, early = records_of(tmp_path / "whole"), records_of(tmp_path / "early", "--probe-anytime")
    assert {name: record["outcome"] for name, record in early.items()} == {
        name: record["outcome"] for name, record in whole.items()
    }
    stopped = 0
    for name, record in early.items():
        prompts, of_all = record["measurement"]["n"], whole[name]["measurement"]["n"]
        print(f"{name}: {record['outcome']}, {prompts} of {of_all} prompts")
        assert prompts == of_all or "; known after" in record["reason"]
        stopped += prompts < of_all
    assert stopped >= 4
