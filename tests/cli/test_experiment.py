"""`lazarus experiment classifier-emergence`: its phases, what they say, and errors in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lazarus_probe.cli import lazarus
from lazarus_probe.experiments.classifier_emergence.material import SIZES, Size
from lazarus_probe.experiments.classifier_emergence.measures import claims

STUDY = ["experiment", "classifier-emergence"]
TINY = Size(
    "tiny", per_label=14, held_out=0.3, steps=3, batch_size=4, learning_rate=1e-2, grpo_steps=1, others=1
)


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    """A size for tests beside those that are offered."""
    monkeypatch.setitem(SIZES, "tiny", TINY)


def run(phase: str, output: Path, *arguments: str, model: str = "organism") -> int:
    return lazarus.main([*STUDY, phase, "-m", model, "--size", "tiny", "-o", str(output), *arguments])


def one_line_error(capsys: pytest.CaptureFixture[str]) -> str:
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.slow
def test_phases_one_after_the_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Each phase says what it did, leaves the published files, and is passed over the second time."""
    for phase in ("generate", "baseline", "phase1", "phase2"):
        assert run(phase, tmp_path) == 0
    said = capsys.readouterr().out
    assert "layer 4 of 8" in said
    assert "   Total       Cls Loss" in said
    for file in (
        "data/arithmetic_sft.jsonl",
        "results/baseline_classifier.json",
        "results/baseline_logit_lens.json",
        "checkpoints/phase1_classifier/lora_weights.npz",
        "checkpoints/phase1_classifier/adapters.safetensors",
        "checkpoints/phase2_routing/adapters.safetensors",
        "results/phase2.json",
    ):
        assert (tmp_path / file).is_file(), file
    for phase in ("generate", "baseline", "phase1", "phase2"):
        assert run(phase, tmp_path) == 0
        assert f"{phase}: done before" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_that_knows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Of an untrained model `all` says why no claim is about it, trains nothing, and writes that down."""
    assert run("all", tmp_path, model="organism-untrained") == 0
    said = capsys.readouterr().out
    assert "the claims are not about this model" in said
    assert said.count("not applicable") == len(claims())
    kept = json.loads((tmp_path / "results" / "verify.json").read_text())
    assert {each["outcome"] for each in kept["verdicts"]} == {"not applicable"}
    assert not (tmp_path / "checkpoints").exists()
    assert not (tmp_path / "results" / "arms").exists()


def test_another_study_in_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A folder with the study of another model is refused by its name."""
    assert run("generate", tmp_path) == 0
    capsys.readouterr()
    assert run("generate", tmp_path, model="organism-early") == 2
    assert "holds a study whose model is organism, not organism-ear" in one_line_error(capsys)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["generate", "-m", "organism", "--task", "poems"], "--task poems: give one of arithmetic, sentiment, code"),
        (["generate", "-m", "organism", "--size", "huge"], "--size huge: give one of full, smoke"),
        (["verify", "-m", "organism", "--size", "tiny"], "baseline.json is missing; run `lazarus experiment"),
        (["phase1", "-m", "organism", "--size", "tiny"], "arithmetic_sft.jsonl is missing; run `lazarus experiment"),
        (["generate", "-m", "no-such-model"], "no-such-model"),
        (["all", "-m", "organism", "--seeds", "1"], "--seeds"),
        (["all", "-m", "organism", "--workers", "0"], "--workers"),
        (["generate"], "--model"),
    ],
)  # fmt: skip
def test_errors_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments, message):
    """What a user can get wrong is said in one line, with what would be right."""
    assert lazarus.main([*STUDY, *arguments, "-o", str(tmp_path / "new")]) == 2
    assert message in one_line_error(capsys)


def test_help_costs_nothing():
    """Help names the phases and imports neither mlx nor transformers."""
    code = (
        "import sys; from lazarus_probe.cli.lazarus import main;"
        "main(['experiment', 'classifier-emergence', '--help']);"
        "assert not {'mlx.core', 'transformers', 'sklearn'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for phase in ("generate", "baseline", "phase1", "phase2", "verify", "all"):
        assert phase in done.stdout
