"""The examples of docs/ci.md that spread the claims over machines, run as a CI host and a cluster would run them."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from lazarus_probe.reports.run import read_run
from tests.plugin.conftest import BEGINNING, STUB

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/ci.md").read_text(encoding="utf-8")
CLAIMS = {
    "test_one": '@claim("one")\ndef test_one(evidence):\n    evidence.record(measured(0.95, p=0.04))\n',
    "test_two": '@claim("two")\ndef test_two(evidence):\n    evidence.record(measured(0.95, p=0.001))\n',
    "test_three": '@claim("three")\ndef test_three(evidence):\n    evidence.record(measured(0.5))\n',
}


@pytest.fixture
def folder(tmp_path):
    """A folder with three claims of one family in three files, on a stub of a model."""
    (tmp_path / "hypotheses").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "hypotheses/conftest.py").write_text(STUB)
    for name, text in CLAIMS.items():
        (tmp_path / f"hypotheses/{name}.py").write_text(f"{BEGINNING}\n{text}")
    return tmp_path


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a runner does, with the commands of this environment."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def is_whole(folder: Path, reports: Path) -> bool:
    """Whether the one run in a folder is what one process makes of all the claims."""
    assert run("pytest hypotheses/ --probe-report whole", folder).returncode == 1
    (whole,), (merged,) = (folder / "whole").glob("*/run.json"), reports.glob("*/run.json")
    one, other = (
        read_run(file).model_dump(exclude={"run", "arguments", "seconds"}) for file in (whole, merged)
    )
    return one == other and len(other["claims"]) == 3 and not other["partial"]


@pytest.mark.slow
def test_a_matrix_of_github(folder):
    """The jobs of the matrix make the whole run, in the report and in the summary of the merging job."""
    text = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    jobs = yaml.safe_load(text)["jobs"]
    (test,) = [step["run"] for step in jobs["shard"]["steps"] if step.get("name") == "Test a shard"]
    (merge,) = [step["run"] for step in jobs["merge"]["steps"] if step.get("name") == "Merge them"]
    names = {
        step["name"]: step["with"]
        for job in jobs.values()
        for step in job["steps"]
        if "name" in step and "with" in step
    }
    numbers = jobs["shard"]["strategy"]["matrix"]["shard"]
    for number in numbers:
        done = run(test.replace("${{ matrix.shard }}", str(number)), folder)
        assert done.returncode == 0, done.stdout
        artifact = names["Keep it"]["name"].replace("${{ matrix.shard }}", str(number))
        shutil.move(folder / names["Keep it"]["path"], folder / names["Take the shards"]["path"] / artifact)
    assert test.count(f"/{len(numbers)} ") == 1
    done = run(merge, folder, GITHUB_STEP_SUMMARY=str(folder / "summary.md"))
    assert done.returncode == 1, done.stderr
    assert is_whole(folder, folder / names["Keep the report"]["path"])
    assert "| three | stub | refuted |" in (folder / "summary.md").read_text()


@pytest.mark.slow
def test_an_array_of_slurm(folder):
    """The tasks of the array make the whole run; one that was not there is named by the merge."""
    script, submit = re.findall(r"```sh\n(.*?)```", PAGE, flags=re.DOTALL)[-2:]
    first, last = map(int, re.findall(r"--array=(\d+)-(\d+)", script)[0])
    (merge,) = re.findall(r'--wrap "(.*?)"', submit)
    for task in range(first, last + 1):
        if task == last:
            done = run(merge, folder)
            assert done.returncode == 2
            assert f"missing: shard {last}/{last}" in done.stderr
        variables = {"SLURM_ARRAY_TASK_ID": str(task), "SLURM_ARRAY_TASK_COUNT": str(last)}
        assert run(script, folder, **variables).returncode == 0
    assert run(merge, folder).returncode == 1
    assert is_whole(folder, folder / "reports")


def test_the_examples_are_what_the_tests_read():
    """The workflow is YAML with a matrix whose number stands in the option, and both examples merge."""
    text = re.findall(r"```yaml\n(.*?)```", PAGE, flags=re.DOTALL)[1]
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["merge"]["needs"] == "shard"
    assert f"/{len(jobs['shard']['strategy']['matrix']['shard'])} " in json.dumps(jobs["shard"]["steps"])
    assert PAGE.count("lazarus report merge shards/") == 2
