"""`lazarus train grpo`: from options or a file to an adapter or a model, and errors in one line."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest
import yaml
from mlx.utils import tree_flatten

from lazarus_probe.cli import lazarus
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.grpo import run as grpo_run
from lazarus_probe.training.log import read_rows

QUICK = ["--max-steps", "2", "--batch-size", "2", "--group-size", "4", "--max-tokens", "2", "--evaluate", "4"]
REWARD = """
def reward_fn(prompt, response):
    return float(sum(map(ord, response)) % 2)

def get_prompts():
    return ["7 * 8 = ", "7 * 9 = "]
"""


def run(*arguments: object) -> int:
    return lazarus.main(["train", "grpo", "-m", "organism-early", *QUICK, *map(str, arguments)])


def one_line_error(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert run(*arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.slow
def test_adapter(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """With LoRA an adapter is left that loads, a row a step in the log, the settings, and what was gained."""
    output = tmp_path / "run"
    assert run("--output", output, "--lora-rank", 4, "--learning-rate", 1e-2) == 0
    said = capsys.readouterr().out
    assert "Held-out reward, symbolic: " in said
    assert "Held-out reward, verbal: " in said
    assert [row["step"] for row in read_rows(output / "log.csv")] == [1, 2]
    settings = yaml.safe_load((output / "grpo.yaml").read_text())
    assert settings["lora_rank"] == 4
    base = dict(tree_flatten(Subject.load("organism-early").model.parameters()))
    adapted = dict(tree_flatten(Subject.load("organism-early", output).model.parameters()))
    assert {name for name in adapted if "lora_b" in name and mx.any(adapted[name]).item()}
    for name, value in base.items():
        assert mx.array_equal(
            value, adapted.get(name, adapted.get(name.replace(".weight", ".linear.weight")))
        )


def test_reward_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """All weights are trained on a file's own reward and prompts; what is left is a model, the frozen layers intact."""
    file = tmp_path / "mine.py"
    file.write_text(REWARD)
    output = tmp_path / "run"
    arguments = ("--reward", file, "--no-use-lora", "--freeze-layers", "0-3", "--output", output)
    assert run(*arguments, "--learning-rate", 1e-3) == 0
    assert f"Model saved to: {output / 'model'}" in capsys.readouterr().out
    before, after = (
        dict(tree_flatten(Subject.load(name).model.parameters()))
        for name in ("organism-early", output / "model")
    )
    moved = {name for name in before if not np.array_equal(before[name], after[name])}
    frozen = {name for name in before if "embed" in name or any(f"layers.{i}." in name for i in range(4))}
    assert moved
    assert not moved & frozen


def test_interrupted_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Interrupted after its first step, the command says so, goes on, and ends with the weights of an unbroken run."""
    real = grpo_run.train_grpo

    def interrupted(subject, prompts, reward, config, on_step, *rest):
        def once(step):
            on_step(step)
            raise KeyboardInterrupt

        return real(subject, prompts, reward, config, once, *rest)

    monkeypatch.setattr(grpo_run, "train_grpo", interrupted)
    assert run("--output", tmp_path / "broken") == 130
    assert "resumes after step 1 of 2" in capsys.readouterr().err
    monkeypatch.setattr(grpo_run, "train_grpo", real)
    for name in ("broken", "unbroken"):
        assert run("--output", tmp_path / name) == 0
    assert "resuming after step 1 of 2" in capsys.readouterr().out
    logs = [(tmp_path / name / "log.csv").read_text() for name in ("broken", "unbroken")]
    files = [(tmp_path / name / "adapters.safetensors").read_bytes() for name in ("broken", "unbroken")]
    assert logs[0] == logs[1]
    assert files[0] == files[1]


def test_file_and_options(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Options win over the file, the file over defaults; an unknown key is refused with the nearest there is."""
    file = tmp_path / "grpo.yaml"
    file.write_text("model: organism-early\ngroup_size: 3\noperations: [add]\nlearning_rate: 0.002\n")
    output = tmp_path / "run"
    assert run("--config", file, "--output", output, "--no-use-lora") == 0
    settings = yaml.safe_load((output / "grpo.yaml").read_text())
    assert settings["group_size"] == 4
    assert settings["learning_rate"] == 0.002
    assert settings["operations"] == ["add"]
    assert settings["use_lora"] is False
    file.write_text("group_sise: 3\n")
    assert "did you mean group_size?" in one_line_error(capsys, "--config", file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--reward", "absent.py"), "no such file"),
        (("--prompts", "absent.jsonl"), "absent.jsonl"),
        (("--group-size", "1"), "group-size is 1"),
        (("--operations", "power"), "'power'"),
        (("--freeze-layers", "0-99"), "there is no layer 99"),
        (("--lora-targets", "x_proj"), "x_proj"),
        (("--max-tokens", "600"), "600"),
    ],
)
def test_bad_input(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], message: str
):
    """What cannot be is said in one line, and nothing is written."""
    assert message in one_line_error(capsys, *arguments, "--output", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_bad_reward(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A reward that fails during the training is named with its prompt."""
    file = tmp_path / "mine.py"
    file.write_text(
        "def reward_fn(prompt, response): return float('nan')\ndef get_prompts(): return ['7*8=']\n"
    )
    error = one_line_error(capsys, "--reward", file, "--output", tmp_path / "run")
    assert "mine.py: reward_fn: returned nan where a finite number is needed, for prompt '7*8='" in error


def test_no_prompts(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A reward without prompts needs a file of them."""
    file = tmp_path / "mine.py"
    file.write_text("def reward_fn(prompt, response): return 1\n")
    assert "give --prompts FILE.jsonl" in one_line_error(
        capsys, "--reward", file, "--output", tmp_path / "run"
    )


def test_another_run_there(capsys: pytest.CaptureFixture[str], tmp_path: Path):
    """A folder with the state of other settings is not gone on from, and says which setting differs."""
    assert run("--output", tmp_path / "run") == 0
    capsys.readouterr()
    assert "seed was 0" in one_line_error(capsys, "--output", tmp_path / "run", "--seed", 5)
