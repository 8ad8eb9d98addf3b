"""action.yml: its steps run as a CI host would run them, on versions of a stub, and with a broken test."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.plugin.conftest import BEGINNING

ROOT = Path(__file__).parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
STUB = """
from types import SimpleNamespace
import pytest

@pytest.fixture(scope="session")
def subject(request):
    (name,) = request.config.getoption("--probe-model")
    return SimpleNamespace(name="stub", fingerprint=f"{name:f<64}"[:64], num_layers=2, dtype="float32", version=name)
"""
CLAIMS = """
@claim("holds-on-early")
def test_holds(subject, evidence):
    evidence.record(measured(0.95 if subject.version == "organism-early" else 0.2))
"""
BROKEN = """
@claim("holds-on-early")
def test_holds(subject, evidence):
    raise RuntimeError("no such layer")
"""


@pytest.fixture
def folder(tmp_path):
    """A project with one claim, and the folders of a runner."""
    (tmp_path / "hypotheses").mkdir()
    (tmp_path / "runner").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    training: trains\n")
    (tmp_path / "hypotheses/conftest.py").write_text(STUB)
    (tmp_path / "hypotheses/test_one.py").write_text(BEGINNING + CLAIMS)
    return tmp_path


def carried_out(folder: Path, models: str) -> dict[str, subprocess.CompletedProcess[str]]:
    """The steps that run commands, by name, up to the first that fails, but for those that always run."""
    inputs = {name: value.get("default", "") for name, value in ACTION["inputs"].items()} | {"models": models}
    outputs, done, failed = folder / "runner/output", dict[str, subprocess.CompletedProcess[str]](), False
    outputs.touch()
    files = {
        "GITHUB_OUTPUT": str(outputs),
        "GITHUB_STEP_SUMMARY": str(folder / "runner/summary.md"),
        "RUNNER_TEMP": str(folder / "runner"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    for step in ACTION["runs"]["steps"]:
        if "run" not in step or step["name"] == "Install" or (failed and step.get("if") != "always()"):
            continue
        given = {
            name: filled(value, inputs, outputs.read_text()) for name, value in step.get("env", {}).items()
        }
        done[step["name"]] = subprocess.run(
            ["bash", "-eo", "pipefail", "-c", step["run"]],
            cwd=folder, env={**os.environ, **files, **given}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        failed = failed or done[step["name"]].returncode != 0
    return done


def filled(value: str, inputs: dict[str, str], outputs: str) -> str:
    """An expression of the action with what it stands for."""
    known = {f"inputs.{name}": text for name, text in inputs.items()}
    known |= {f"steps.compare.outputs.{name}": text for name, text in re.findall(r"(\w+)=(.*)", outputs)}
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: known[match[1]], value)


def codes(done: dict[str, subprocess.CompletedProcess[str]]) -> list[int]:
    return [step.returncode for step in done.values()]


@pytest.mark.slow
def test_three_versions_are_compared(folder):
    """What the last version lost fails the job at its test's line; the comparison is first in the summary."""
    done = carried_out(folder, "organism-early organism-early organism")
    assert codes(done) == [0, 0, 1]
    annotation = next(
        line for line in done["Compare them"].stdout.splitlines() if line.startswith("::error ")
    )
    assert re.match(
        r"::error file=hypotheses/test_one\.py,line=\d+,title=holds-on-early::stub: lost", annotation
    )
    summary = (folder / "runner/summary.md").read_text()
    assert summary.index("holds-on-early") < summary.index("# Claims, run ")
    assert summary.count("# Claims, run ") == 3
    assert json.loads((folder / "reports/badge.json").read_text())["message"] == "0 of 1 supported"
    assert "lazarus report page reports/3" in done["Say what failed"].stdout


@pytest.mark.slow
def test_one_version_and_versions_that_agree_pass(folder):
    """One version has nothing to be compared with, and two that agree have changed nothing."""
    assert codes(carried_out(folder, "organism-early")) == [0, 0, 0]
    assert codes(carried_out(folder, "organism-early organism-early")) == [0, 0, 0]


@pytest.mark.slow
def test_a_broken_test_is_no_lost_finding(folder):
    """A test that raises ends the job with another code, and says what to run."""
    carried_out(folder, "organism-early")
    (folder / "hypotheses/test_two.py").write_text(BEGINNING + BROKEN.replace("holds-on-early", "breaks"))
    done = carried_out(folder, "organism-early organism-early")
    assert codes(done)[-1] == 3
    assert "pytest -x" in done["Say what failed"].stdout


@pytest.mark.slow
def test_what_cannot_be_tested_is_named(folder):
    """A folder without tests ends the job with what to run, and not as a version without findings."""
    (folder / "hypotheses/test_one.py").unlink()
    done = carried_out(folder, "organism-early")
    assert done["Test the claims on each version"].returncode == 5
    assert "pytest ended with" in done["Test the claims on each version"].stdout


def test_every_input_is_used():
    """Inputs have descriptions, and each is read by a step; no step names one that there is not."""
    text = json.dumps(ACTION["runs"])
    read = set(re.findall(r"inputs\.([\w-]+)", text))
    assert read == set(ACTION["inputs"])
    assert all(value["description"].endswith(".") for value in ACTION["inputs"].values())
