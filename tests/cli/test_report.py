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
from lazarus_probe.claims.claim import make_claim
from lazarus_probe.claims.families import correct
from lazarus_probe.claims.record import ClaimRecord, MeasurementRecord, ModelRecord
from lazarus_probe.claims.verdict import claim_p, judge
from lazarus_probe.cli.lazarus import main
from lazarus_probe.reports.run import make_run
from lazarus_probe.reports.write import write_run
from lazarus_probe.statistics.measurement import Control, Measurement

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


@pytest.fixture
def make_run_of():
    """A run of one claim with a score on each of some models; it is supported from 0.9 on."""

    def make(name, scores):
        fields = {"id": "c", "statement": "It is so.", "source": "a paper", "kind": "decodability"}
        fields |= {"threshold": 0.9, "margin": 0.1, "controls": ["majority"], "cases": 1, "family": "all"}
        claim, records = make_claim(fields, "test"), []
        for model, score in scores.items():
            controls = (Control("majority", 0.2, score - 0.2, score - 0.22, score - 0.18),)
            ends = {"low": score - 0.02, "high": score + 0.02, "p": 0.001, "unit": "accuracy"}
            measurement = Measurement(score, n=100, groups=20, controls=controls, **ends)
            verdict = judge(claim, measurement)
            records.append(
                ClaimRecord(
                    claim=claim,
                    claim_hash=claim.hash,
                    test=f"test_c.py::test_c[{model}]",
                    parameters="",
                    model=ModelRecord(name=model, fingerprint=model * 8, num_layers=2, dtype="float32"),
                    outcome=verdict.outcome,
                    alone=verdict.outcome,
                    reason=verdict.reason,
                    requirements=[],
                    measurement=MeasurementRecord.model_validate(measurement.as_dict()),
                    p=claim_p(claim, measurement),
                )
            )
        return make_run(correct(records)[0], [0], [], partial=False, run=name)

    return make


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


def test_three_versions_are_a_table(baselines, capsys, monkeypatch):
    """Three versions are columns in the order given; the exit code is of the last pair, in every format."""
    monkeypatch.setenv("COLUMNS", "80")
    assert main(["report", "compare", "a", "b", "a"]) == 0
    text = capsys.readouterr().out
    assert "c       supported 0.95  ▼refuted 0.50  ▲supported 0.95  █▅█\n" in text
    assert "1 to 2: 1 lost\n2 to 3: 1 gained\n" in text
    assert "\x1b" not in text
    assert main(["report", "compare", "a", "a", "b"]) == 1
    assert main(["report", "compare", "a", "a", "b", "--fail-on", "none"]) == 0
    capsys.readouterr()
    assert main(["report", "compare", "a", "a", "b", "--json", "--output", "page.html"]) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["steps"] == [{"unchanged": 1}, {"lost": 1}]
    assert printed.err == "page: page.html\n"
    assert Path("page.html").read_text().count("<svg") == 1
    assert main(["report", "compare", "a", "b", "a", "--markdown"]) == 0
    assert "| c | supported 0.95 [0.93, 0.97] | ▼ refuted 0.50 [0.48, 0.52] |" in capsys.readouterr().out


def test_one_version_is_no_comparison(baselines, capsys):
    """One version alone is refused, with what would be right; a run of several models has versions of its own."""
    assert main(["report", "compare", "a"]) == 2
    assert capsys.readouterr().err.startswith("error: a is one version: give another to compare it with, or ")


def test_colours_are_for_a_terminal(baselines, capsys, monkeypatch):
    """On a terminal verdicts are coloured, unless NO_COLOR says otherwise; the columns are those of the plain text."""
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    main(["report", "compare", "a", "b", "a"])
    coloured = capsys.readouterr().out
    assert "\x1b[31m▼refuted 0.50" in coloured
    monkeypatch.setenv("NO_COLOR", "1")
    main(["report", "compare", "a", "b", "a"])
    assert re.sub(r"\x1b\[\d*m", "", coloured) == capsys.readouterr().out


def test_history_of_a_folder(make_run_of, tmp_path, capsys, monkeypatch):
    """All runs of a folder stand side by side for each model; the exit code is that of the last pair."""
    monkeypatch.chdir(tmp_path)
    for name, scores in (("20260101-000000", (0.95, 0.95)), ("20260102-000000", (0.95, 0.5))):
        write_run(make_run_of(name, dict(zip(("one", "two"), scores, strict=True))), tmp_path / "reports")
    assert main(["report", "history", "reports", "--output", "history.html"]) == 1
    text = capsys.readouterr().out
    assert text.count("claim  ") == 2
    assert "▼refuted 0.50" in text
    assert Path("history.html").read_text().count("<h2") == 2
    assert main(["report", "history", "reports", "--json"]) == 1
    assert [*json.loads(capsys.readouterr().out)["models"]] == ["one", "two"]
    assert main(["report", "history", "reports", "--markdown", "--json"]) == 2
    assert main(["report", "history", "nowhere"]) == 2
    (last,) = (tmp_path / "reports").glob("20260102*")
    capsys.readouterr()
    assert main(["report", "compare", str(last)]) == 1
    assert "supported 0.95  ▼refuted 0.50" in capsys.readouterr().out


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
