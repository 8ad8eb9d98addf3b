"""`--json` on commands that say much while they work: one document on standard output, the rest on standard error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lazarus_probe.cli import lazarus
from lazarus_probe.reports.run import make_run
from lazarus_probe.reports.write import write_run


def data_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[dict[str, Any], str]:
    """What a command prints as JSON, and what it says meanwhile."""
    assert lazarus.main([*arguments, "--json"]) == 0
    printed, said = capsys.readouterr()
    found = json.loads(printed)
    assert isinstance(found, dict)
    return found, said


def test_dual_reward(tmp_path: Path, capsys):
    """The data is that of config.json, and the losses are shown meanwhile."""
    short = ["--steps", "2", "--num-samples", "40", "--held-out", "3", "--lora-rank", "2"]
    command = ["introspect", "dual-reward", "-m", "organism", *short, "-o", str(tmp_path / "new")]
    found, said = data_of(capsys, *command)
    kept = json.loads((tmp_path / "new" / "config.json").read_text())
    assert {key: kept[key] for key in found} == found
    assert found["steps"] == 2
    assert "Cls Loss" in said


def test_sft(tmp_path: Path, capsys, make_llama, save_checkpoint):
    """The data says where the adapter is and after how many steps."""
    base = save_checkpoint(tmp_path / "tiny", make_llama())
    (tmp_path / "data.jsonl").write_text('{"prompt": "1 + 1 = ", "response": "2"}\n' * 4)
    files = ["--data", str(tmp_path / "data.jsonl"), "--output", str(tmp_path / "out")]
    found, said = data_of(capsys, "train", "sft", "--model", str(base), *files, "--max-steps", "1")
    assert (found["folder"], found["steps"]) == (str(tmp_path / "out"), 1)
    assert "Adapter saved to" in said


def test_grpo(tmp_path: Path, capsys):
    """The data has the gain of each kind of held-out question with its interval."""
    short = ["--max-steps", "1", "--batch-size", "2", "--group-size", "2", "--evaluate", "4"]
    command = ["train", "grpo", "-m", "organism-early", "--reward", "arithmetic", *short]
    found, said = data_of(capsys, *command, "--output", str(tmp_path / "out"))
    assert found["saved"].startswith(str(tmp_path / "out"))
    assert {"name", "n", "before", "after", "gain", "interval"} == set(found["gains"][0])
    assert "saved to" in said


@pytest.mark.slow
def test_scores_of_a_model(tmp_path: Path, capsys):
    """`organism evaluate` prints what it writes."""
    file = tmp_path / "new" / "scores.json"
    found, said = data_of(capsys, "organism", "evaluate", "organism", "--limit", "1", "--output", str(file))
    assert json.loads(file.read_text()) == found
    assert found["scores"][0]["task"] == "multiply"
    assert "multiply" in said


def test_training_data_of_a_study(tmp_path: Path, capsys):
    """`experiment classifier-emergence generate` says how many items there are and where."""
    study = ["experiment", "classifier-emergence", "generate", "-m", "organism", "--size", "smoke"]
    found, said = data_of(capsys, *study, "-o", str(tmp_path / "study"))
    assert Path(found["data"]).exists()
    assert found["trained"] > found["held_out"] > 0
    assert "study of organism" in said


def test_page_of_a_run(tmp_path: Path, capsys):
    """`report page` says where it is."""
    folder = write_run(make_run([], [0], ["pytest"], partial=False), tmp_path)
    found, _ = data_of(capsys, "report", "page", str(folder))
    assert Path(found["page"]).read_text(encoding="utf-8").startswith("<!")


def test_backend(capsys):
    """`backend --json` has both speeds and their ratio."""
    found, _ = data_of(capsys, "backend")
    assert found["ratio"] == pytest.approx(found["mlx"] / found["numpy"])
