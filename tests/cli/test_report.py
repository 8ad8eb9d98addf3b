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

from lazarus_probe.claims.baseline import Baseline
from lazarus_probe.claims.baseline_record import BaselineRecord
from lazarus_probe.cli.lazarus import main

ROOT = Path(__file__).parents[2]


@pytest.fixture
def baselines(tmp_path, monkeypatch):
    """Baselines `a` and `b` in reports/, where a claim is supported and refuted."""
    monkeypatch.chdir(tmp_path)
    for name, outcome, score in (("a", "supported", 0.95), ("b", "refuted", 0.5)):
        numbers = {"score": score, "low": score - 0.02, "high": score + 0.02}
        known = BaselineRecord(outcome=outcome, claim_hash="h", **numbers)
        baseline = Baseline(model="tiny", fingerprint="f" * 64, seed=0, claims={"c": known})
        path = tmp_path / "reports" / "baselines" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(baseline.model_dump_json())
    return path.parent


def test_exit_code_tells_what_changed(baselines, capsys):
    """Two baselines by name: 0 where nothing changed, 1 where a finding did."""
    assert main(["report", "compare", "a", "a"]) == 0
    assert main(["report", "compare", "a", "b"]) == 1
    assert "supported 0.95 [0.93, 0.97]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["a", "b"], 1),  # lost
        (["b", "a"], 0),  # gained
        (["b", "a", "--fail-on", "gained"], 1),
        (["a", "b", "--fail-on", "weakened,gained"], 0),
        (["b", "a", "--fail-on", "any"], 1),
        (["a", "b", "--fail-on", "none"], 0),
        (["a", "b", "--fail-on", "worse"], 2),
    ],
)
def test_what_fails_is_chosen(baselines, capsys, options, code):
    """What is worse is 1 by default, and --fail-on says which changes are."""
    assert main(["report", "compare", *options]) == code
    if code == 2:
        assert capsys.readouterr().err.startswith(
            "error: --fail-on 'worse' is unknown; give any, none, or some of "
        )


def test_formats(baselines, capsys):
    """--json is data and --markdown a table; both at once are refused."""
    assert main(["report", "compare", "a", "b", "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["counts"] == {"lost": 1}
    assert main(["report", "compare", "a", "b", "--markdown"]) == 1
    assert "| lost | c | tiny |" in capsys.readouterr().out
    assert main(["report", "compare", "a", "b", "--markdown", "--json"]) == 2


@pytest.mark.parametrize("spoil", ["missing", "damaged"])
def test_what_cannot_be_read_is_one_line(baselines, capsys, spoil):
    """A side that is not there, or damaged, is one line and exit code 2."""
    if spoil == "damaged":
        (baselines / "b.json").write_text("{")
    assert main(["report", "compare", "a", "nowhere" if spoil == "missing" else "b"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1


@pytest.fixture
def workflow():
    """The steps of the first workflow in docs/ci.md."""
    text = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs/ci.md").read_text(), flags=re.DOTALL)[0]
    (job,) = yaml.safe_load(text)["jobs"].values()
    return job


def carried_out(job, folder: Path) -> dict[str, int]:
    """Run a job's own commands, as GitHub's runner would; returns the exit codes of the steps that ran."""
    outputs, codes = folder / "output", {}
    files = {"GITHUB_OUTPUT": str(outputs), "GITHUB_STEP_SUMMARY": str(folder / "summary.md")}
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    outputs.write_text("")
    for step in job["steps"]:
        if "run" not in step or "pip install" in step["run"]:
            continue
        wanted = re.search(r"== '(\d)'", step.get("if", ""))
        if wanted and f"code={wanted[1]}\n" not in outputs.read_text():
            continue
        environment = {**os.environ, **job["env"], **files, "PATH": path}
        done = subprocess.run(["bash", "-e", "-c", step["run"]], cwd=folder, env=environment, check=False)
        codes[step["name"]] = done.returncode
    return codes


@pytest.mark.slow
def test_workflow_tells_a_finding_from_a_broken_test(workflow, tmp_path):
    """The documented job fails where a finding is worse than it was, not where it is better; a broken test is apart."""
    folder = tmp_path / "hypotheses"
    (folder / "expectations").mkdir(parents=True)
    shutil.copy(ROOT / "hypotheses/arithmetic/expectations/patching.yaml", folder / "expectations")
    text = (ROOT / "hypotheses/arithmetic/test_patching.py").read_text()
    text = text.partition('@pytest.mark.claim("patching-transfers-everywhere")')[0]  # the one that takes long
    (folder / "test_patching.py").write_text(text)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    codes = carried_out(workflow, tmp_path)
    assert codes == {
        "Test the claims on both versions": 0,
        "Compare them": 0,
    }  # what is newly measurable is no loss
    summary = (tmp_path / "summary.md").read_text()
    assert (
        "| newly measurable | patching-transfers-answer | organism | not applicable | supported 1.00"
        in summary
    )
    assert summary.count("# Claims, run ") == 2
    shutil.rmtree(tmp_path / "reports")
    codes = carried_out({**workflow, "env": {"OLD": "organism", "NEW": "organism-early"}}, tmp_path)
    assert codes == {"Test the claims on both versions": 0, "Compare them": 0, "A finding was lost": 1}
    shutil.rmtree(tmp_path / "reports")
    (folder / "test_patching.py").write_text(f"{text}\n\ndef transfer(*_):\n    raise RuntimeError('gone')\n")
    codes = carried_out(workflow, tmp_path)
    assert codes == {"Test the claims on both versions": 0, "Compare them": 0, "A test broke": 1}
