"""The teeth of the null: what holds on an untrained model too is no finding."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


HYPOTHESES = ROOT / "hypotheses"
ALL = tuple(sorted(str(path.relative_to(HYPOTHESES)) for path in HYPOTHESES.rglob("test_*.py")))


@pytest.mark.nested
def test_nothing_is_supported_on_an_untrained_model(tmp_path):
    """All hypothesis files run on an untrained model like the organism, and no claim comes out supported."""
    files = {f"hypotheses/{name}" for name in ALL}
    command = [sys.executable, "-m", "pytest", *sorted(files), "--model", "organism-untrained"]
    options = ["-q", "--probe-report", str(tmp_path), "--probe-baseline", "none"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True, check=False)
    runs = list(tmp_path.glob("*/run.json"))
    assert runs, done.stdout + done.stderr
    run = json.loads(runs[0].read_text())
    assert {record["test"].split("::")[0] for record in run["claims"]} == files
    assert run["broken"] == []
    assert [record["reason"] for record in run["claims"] if record["outcome"] == "supported"] == []
    # Without the preconditions that an untrained model fails, the measured ones must be refused on their numbers.
    # Claims about a training apply to a model that answers; they have untrained arms of their own.
    others = [record for record in run["claims"] if "training" not in record["claim"]["needs"]]
    assert sum(record["measurement"] is not None for record in others) > len(others) / 2
    assert not run["partial"]
