"""`lazarus introspect dual-reward`: what it prints, what it keeps, and what it refuses before training."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.cli import lazarus
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.dual_reward_config import DualRewardConfig
from lazarus_probe.training.settings import read_settings
from lazarus_probe.training.state import has_state, state_step

COMMAND = ["introspect", "dual-reward", "-m", "organism"]
SHORT = ["--steps", "3", "--num-samples", "40", "--held-out", "3", "--batch-size", "4", "--lora-rank", "2"]


@pytest.fixture(scope="module")
def short(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run of three steps, and what it printed."""
    folder = tmp_path_factory.mktemp("dual") / "new" / "adapter"
    command = [sys.executable, "-m", "lazarus_probe.cli.lazarus", *COMMAND, *SHORT, "-o", str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert found.stderr == ""
    return folder, found.stdout


def test_output_is_laid_out_as_published(short: tuple[Path, str]):
    """Header, losses, the eight prompts and the accuracy stand in the published order and columns."""
    folder, printed = short
    # v: 128 -> 64 and o: 128 -> 128, in layers 3 to 7
    trainable = 5 * 2 * ((128 + 64) + (128 + 128))
    lines = printed.splitlines()
    lines[3] = re.sub(r": \d+", ": N", lines[3])
    lines[15] = re.sub(r" [ \d]{4}\d\.\d{4}", "     N.NNNN", lines[15])
    assert lines[:22] == [
        "Loading model: organism",
        "  Layers: 8",
        "  Classifier layer: L4 (50% depth)",
        "  Class tokens: {'multiply': N, 'add': N, 'subtract': N, 'divide': N}, words as written",
        "  LoRA rank: 2",
        f"  Trainable params: {trainable:,}",
        "",
        "  Training samples: 40",
        "  Classification weight: 0.4",
        "  Learning rate: 0.0005",
        "  Steps: 3",
        "",
        "Training...",
        "  Step   Total       Cls Loss   Ans Loss",
        "-" * 40,
        "     3     N.NNNN     N.NNNN     N.NNNN",
        "-" * 40,
        "",
        "Evaluating classifier after training...",
        "",
        "Prompt               Predicted        Expected         Status  Probability",
        "-" * 60,
    ]
    assert printed.endswith(f"Checkpoint saved to: {folder}\n")


def test_eight_prompts_are_the_published_ones(short: tuple[Path, str]):
    """Each published prompt has a row that says what is on top of the whole vocabulary, and the share that is right."""
    rows = re.findall(r"^  (\d+ . \d+ =) +(\S+) +(\w+) +\[(OK|X)\] +\d\.\d{4}$", short[1], re.MULTILINE)
    assert [row[0] for row in rows] == [
        "7 * 8 =", "12 * 5 =", "23 + 45 =", "17 + 38 =", "50 - 23 =", "89 - 34 =", "48 / 6 =", "81 / 9 =",
    ]  # fmt: skip
    assert [row[2] for row in rows] == ["multiply"] * 2 + ["add"] * 2 + ["subtract"] * 2 + ["divide"] * 2
    assert all((row[1] == row[2]) == (row[3] == "OK") for row in rows)
    right = sum(row[3] == "OK" for row in rows)
    assert f"\nAccuracy: {right}/8 ({right / 8:.0%})\n" in short[1]


def test_held_out_operands_are_counted_before_and_after(short: tuple[Path, str]):
    """Two tables give n, the class word on top and the answers, with intervals, for each operation and for all."""
    rows = re.findall(r"^(multiply|add|subtract|divide|all) +(\d+) +(\S+ \[.*\])", short[1], re.MULTILINE)
    assert [(name, n) for name, n, _ in rows] == [
        *[(name, "3") for name in ("multiply", "add", "subtract", "divide")],
        ("all", "12"),
    ] * 2
    # before training the organism names nothing and answers everything
    assert all(row[2].startswith("0.00 [0.00, ") for row in rows[:5])
    assert all(row[2].startswith("1.00 [") for row in rows[5:])


def test_files_are_the_published_ones(short: tuple[Path, str]):
    """`lora_weights.npz` has the true shapes of V and O, `config.json` what was trained; no state is left."""
    folder, printed = short
    with np.load(folder / "lora_weights.npz") as file:
        shapes = {name: file[name].shape for name in file.files}
    assert len(shapes) == 5 * 4
    assert [shapes[f"layer_7_{name}"] for name in ("v_A", "v_B", "o_A", "o_B")] == [
        (128, 2), (2, 64), (128, 2), (2, 128),
    ]  # fmt: skip
    config = json.loads((folder / "config.json").read_text())
    assert config["model"] == "organism"
    assert (config["classifier_layer"], config["lora_rank"], config["cls_weight"]) == (4, 2, 0.4)
    assert (config["steps"], config["num_samples"], config["seed"]) == (3, 40, 0)
    assert f"({config['final_accuracy']:.0%})" in printed
    assert [row["n"] for row in config["held_out"]] == [3, 3, 3, 3, 12]
    assert not has_state(folder)


def test_adapter_loads_and_names_what_the_table_says(short: tuple[Path, str]):
    """Loaded as `--adapter`, the model shows by its lens the probabilities that were printed."""
    folder, printed = short
    trained = Subject.load("organism", adapter=folder)
    config = json.loads((folder / "config.json").read_text())
    token = config["class_tokens"]["multiply"]
    lens = logit_lens(trained, ["7 * 8 = "], [config["classifier_layer"]])
    shown = re.search(r"7 \* 8 = .*(\d\.\d{4})$", printed, re.MULTILINE)
    assert shown
    assert lens.probability(token)[0, 0] == pytest.approx(float(shown[1]), abs=6e-5)
    plain = logit_lens(Subject.load("organism"), ["7 * 8 = "], [4])
    assert not np.array_equal(plain.log_probs, lens.log_probs)


def one_line_error(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> str:
    assert lazarus.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--steps", "0"], "--steps"),
        (["--cls-weight", "1.5"], "--cls-weight"),
        (["--learning-rate", "0"], "--learning-rate is 0.0: it should be greater than 0"),
        (["--learning-rate", "nan"], "--learning-rate is nan: it should be a finite number"),
        (["--classifier-layer", "8"], "classifier layer 8 is out of range: the model has layers 0 to 7"),
        (["--classifier-layer", "7"], "is the last: what it names is the answer; give one of 0 to 6"),
        (["--num-samples", "3"], "3 samples are too few"),
        (["--num-samples", "9000"], "9000 samples are more than there are: 8004 at most"),
        (["--held-out", "1"], "1 held-out questions per operation are too few"),
        (["--held-out", "1000"], "1000 held-out questions per operation are more than there are"),
        (["--lora-targets", "v_porj"], "v_porj"),
        (["--layers", "5-7"], "--layers 5-7: all lie above classifier layer 4"),
        (["--layers", "3-9"], "--layers 3-9: there is no layer 9; the model has 0 to 7"),
        (["--class-word", "power:of"], "--class-word: 'power:of': give one of multiply, add"),
        (["--class-word", "add:multiply"], "add and multiply have one class token, 'multiply'"),
        (["--class-word", "add:zugzwang"], "; for this model: --class-word 'add:add'"),
        (["-m", "golem"], "no model named 'golem'"),
        (["-o", "/dev/null/here"], "/dev/null is a file; give a folder"),
        (["-o", "/proc/here"], "/proc"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], named: str, capsys: pytest.CaptureFixture[str]):
    """What cannot be trained or kept is named in one line, before a step is made."""
    error = one_line_error(capsys, [*COMMAND, *SHORT, *arguments])
    assert named in error
    assert "Training..." not in capsys.readouterr().out


def test_folder_with_an_adapter_or_a_model_is_refused(
    short: tuple[Path, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """Nothing that is kept already is overwritten, not even a model's own config.json."""
    before = (short[0] / "config.json").read_bytes()
    error = one_line_error(capsys, [*COMMAND, *SHORT, "-o", str(short[0])])
    assert "holds lora_weights.npz already; give another folder" in error
    assert (short[0] / "config.json").read_bytes() == before
    (tmp_path / "config.json").write_text("{}")
    assert "holds config.json already" in one_line_error(capsys, [*COMMAND, *SHORT, "-o", str(tmp_path)])


def test_model_without_the_class_words_is_told_which_words_it_has(
    make_llama, save_checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """A tokenizer that has no class word as one token is refused, with words that are one, where there are any."""
    folder = save_checkpoint(tmp_path / "tiny", make_llama())
    error = one_line_error(capsys, ["introspect", "dual-reward", "-m", str(folder), *SHORT])
    assert "is not one token but" in error
    assert "--class-word 'multiply:*' --class-word 'add:+'" in error


@pytest.mark.slow
def test_interrupted_training_goes_on_where_it_was(tmp_path: Path):
    """A run stopped by an interrupt goes on with the same command, and ends with the same adapter, bit for bit."""
    output, unbroken = tmp_path / "run", tmp_path / "unbroken"
    steps = ["--steps", "200", "--num-samples", "40", "--held-out", "2", "--batch-size", "2"]
    command = [sys.executable, "-m", "lazarus_probe.cli.lazarus", *COMMAND, *steps, "-o"]
    step = interrupted([*command, str(output)], output)
    for folder in (output, unbroken):
        found = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr
        assert (f"Going on after step {step} of 200" in found.stdout) == (folder == output)
    adapters = [mx.load(str(folder / "adapters.safetensors")) for folder in (output, unbroken)]
    assert all(mx.array_equal(adapters[0][name], adapters[1][name]) for name in adapters[1])


def test_an_interrupt_between_two_steps_loses_nothing(
    short: tuple[Path, str], tmp_path: Path, interrupt_after, capsys: pytest.CaptureFixture[str]
):
    """Interrupted at a step, the command names it, goes on there and ends with the adapter of an unbroken run."""
    output = tmp_path / "run"
    command = [*COMMAND, *SHORT, "-o", str(output)]
    with interrupt_after(2):
        assert lazarus.main(command) == 130
    assert "interrupted: the same command resumes after step 2 of 3\n" in capsys.readouterr().err
    assert lazarus.main(command) == 0
    assert "Going on after step 2 of 3" in capsys.readouterr().out
    adapters = [mx.load(str(folder / "adapters.safetensors")) for folder in (output, short[0])]
    assert all(mx.array_equal(adapters[0][name], adapters[1][name]) for name in adapters[1])


def interrupted(command: list[str], output: Path) -> int:
    """Run a training until it has kept a state, interrupt it, and return the step it says it goes on after."""
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while not has_state(output) and time.monotonic() < until:
        time.sleep(0.01)
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=60)
    assert run.returncode == 130, said
    step = state_step(output)
    assert 0 < step <= 200
    assert said.endswith(f"interrupted: the same command resumes after step {step} of 200\n")
    return step


def test_divergence_keeps_the_last_good_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """A loss that ceases to be a number ends the training with an error; the weights before it are kept and load."""
    output = tmp_path / "run"
    error = one_line_error(
        capsys, [*COMMAND, *SHORT, "--learning-rate", "1e38", "--steps", "50", "-o", str(output)]
    )
    step = re.search(r"the weights after step (\d+) are in", error)
    assert step
    config = json.loads((output / "config.json").read_text())
    assert (config["steps"], config["final_accuracy"]) == (int(step[1]), None)
    Subject.load("organism", adapter=output)
    kept = mx.load(str(output / "adapters.safetensors"))
    assert all(mx.isfinite(value).all() for value in kept.values())


def test_settings_come_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """The command line is over a file of settings; class words are a mapping there, or as the option repeated."""
    file = tmp_path / "dual.yaml"
    file.write_text("model: organism\nsteps: 9\nclass_word: {add: sum}\nlayers: 5-7\n")
    error = one_line_error(capsys, ["introspect", "dual-reward", "--config", str(file)])
    assert "--layers 5-7: all lie above classifier layer 4" in error
    config = read_settings(DualRewardConfig, file, {"steps": 2})
    assert (config.steps, config.class_word["add"], config.class_word["divide"]) == (2, "sum", "divide")
    repeated = read_settings(DualRewardConfig, file, {"class_word": ["add:plus", "divide:ratio"]})
    assert (repeated.class_word["add"], repeated.class_word["divide"]) == ("plus", "ratio")
