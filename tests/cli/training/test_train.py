"""`lazarus train sft`: the published configurations, options, interruptions, and errors in one line."""

from __future__ import annotations

import inspect
import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from lazarus_probe.cli import lazarus
from lazarus_probe.cli.training import train, train_grpo
from lazarus_probe.tasks.arithmetic import facts
from lazarus_probe.training.grpo.config import GrpoConfig
from lazarus_probe.training.sft.config import IntermediateLoss, SftConfig
from lazarus_probe.training.state import state_step
from tests.cases import slow_except

# As published, but for the model, its number of layers, the paths and the length.
PHASE_1 = """\
model: organism
output: {folder}/phase1_classifier
epochs: 1
max_steps: 70
batch_size: 1
learning_rate: 0.001
use_lora: true
lora_rank: 16
lora_targets: v_proj,o_proj
data: {folder}/arithmetic_sft.jsonl
intermediate_loss:
  enabled: true
  layer: 4
  weight: 0.4
  targets:
    multiply: "multiply"
    add: "add"
    subtract: "subtract"
    divide: "divide"
"""
PHASE_2 = """\
model: organism
adapter: {folder}/phase1_classifier
output: {folder}/phase2_routing
epochs: 1
max_steps: 5
learning_rate: 0.0005
freeze_layers: 0-4
use_lora: true
lora_rank: 16
lora_targets: v_proj,o_proj
data: {folder}/arithmetic_sft.jsonl
mask_prompt: true
"""
# Defaults that help says in words.
IN_WORDS = {"use_lora", "max_length", "prompts", "operations", "intermediate_loss"}
REQUIRED: dict[type, dict[str, Any]] = {SftConfig: {"model": "m", "data": "d"}, GrpoConfig: {"model": "m"}}
COMMAND = [sys.executable, "-m", "lazarus_probe.cli.lazarus", "train", "sft"]


def write_data(file: Path, count: int = 20) -> Path:
    """Arithmetic without labels: the operations are plain."""
    kinds = ("multiply", "add", "subtract", "divide")
    chosen = [fact for kind in kinds for fact in list(facts(kind))[7 :: 2000 // count][:count]]
    lines = (json.dumps({"prompt": fact.prompt(), "response": fact.response()}) for fact in chosen)
    file.write_text("\n".join(lines) + "\n")
    return file


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """A folder in which both published configurations have been run."""
    folder = tmp_path_factory.mktemp("study")
    write_data(folder / "arithmetic_sft.jsonl")
    for name, text in (("phase1.yaml", PHASE_1), ("phase2.yaml", PHASE_2)):
        (folder / name).write_text(text.format(folder=folder))
        assert lazarus.main(["train", "sft", "--config", str(folder / name)]) == 0
    return folder


def one_line_error(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    capsys.readouterr()
    assert lazarus.main(["train", "sft", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    return error


def test_published_configurations_run(study):
    """Both phases leave an adapter in both formats, and the second keeps the first in the frozen layers."""
    import numpy as np

    first, second = (
        dict(np.load(study / name / "lora_weights.npz")) for name in ("phase1_classifier", "phase2_routing")
    )
    assert set(first) == {f"layer_{i}_{p}_{m}" for i in range(8) for p in "vo" for m in "AB"}
    for key, value in first.items():
        assert np.array_equal(value, second[key]) == (int(key.split("_")[1]) <= 4)
    assert json.loads((study / "phase1_classifier" / "config.json").read_text())["classifier_layer"] == 4


def test_the_log_shows_the_class_loss_fall(study):
    """Seventy steps of the first phase lower the class loss, and the log has both losses."""
    lines = (study / "phase1_classifier" / "log.csv").read_text().splitlines()
    column = lines[0].split(",").index("classification")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    assert len(losses) == 70
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    assert (study / "phase1_classifier" / "curve.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("phase", slow_except(["phase1_classifier", "phase2_routing"], "phase1_classifier"))
def test_other_commands_load_what_was_trained(study, phase, capsys):
    """`lazarus anatomy --adapter` takes the output folder."""
    assert lazarus.main(["anatomy", "-m", "organism", "--adapter", str(study / phase)]) == 0
    assert phase in capsys.readouterr().out


def test_the_command_says_what_it_does(study, capsys):
    """The header, the table of both losses and the folder are printed; a second run has nothing left to do."""
    data, output = study / "arithmetic_sft.jsonl", study / "said"
    held_out = study / "eval.jsonl"
    known = data.read_text().splitlines()[:3]
    held_out.write_text("\n".join([*known, '{"prompt": "150 + 50 = ", "response": "200"}']))
    arguments = ["train", "sft", "-m", "organism", "--data", str(data), "--output", str(output)]
    arguments += [
        "--max-steps",
        "4",
        "--log-interval",
        "2",
        "--freeze-layers",
        "0-1",
        "--eval-data",
        str(held_out),
    ]
    arguments += ["--intermediate-loss", "--intermediate-loss-targets"]
    arguments += ["multiply:multiply,add:add,subtract:subtract,divide:divide"]
    assert lazarus.main(arguments) == 0
    said = capsys.readouterr().out
    for line in (
        "  Layers: 8",
        "  Frozen layers: 0-1 (2 of 8)",
        "  Classifier layer: L4 (50% depth)",
        "  LoRA rank: 16 on v_proj, o_proj",
        "  Training samples: 80",
        "  Validation samples: 4 (3 of them with a prompt that is trained on)",
        "  Steps: 4",
        "  Step   Total       Cls Loss   Ans Loss",
        "Best validation loss: ",
        f"Adapter saved to: {output}",
    ):
        assert f"\n{line}" in said
    table = [line.split() for line in said.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in table if len(row) == 4] == ["2", "4"]
    assert lazarus.main(arguments) == 0
    assert "\nAll steps are done (4)\n" in capsys.readouterr().out


def options_of(command) -> dict[str, typer.models.OptionInfo]:
    """The options of a command that are settings, by the name of their parameter."""
    parameters = inspect.signature(command).parameters
    return {name: parameters[name].default for name in parameters if name not in ("config", "as_json")}


def test_every_setting_is_an_option():
    """Each key of the YAML files can be given on the command line, under its own name; a switch for its section."""
    section = {f"intermediate_loss_{name}" for name in IntermediateLoss.model_fields if name != "enabled"}
    assert set(options_of(train.sft)) == set(SftConfig.model_fields) | section
    assert set(options_of(train_grpo.grpo)) == set(GrpoConfig.model_fields)


@pytest.mark.parametrize(
    ("command", "kind"), [(train.sft, SftConfig), (train_grpo.grpo, GrpoConfig)], ids=["sft", "grpo"]
)
def test_help_says_the_default(command, kind):
    """The default in the help is the one that is taken, in words or as it is given on the command line."""
    for name, option in options_of(command).items():
        field = kind.model_fields.get(name)
        if field is None or field.is_required() or name in IN_WORDS:
            continue
        shown = {"yes": True, "no": False, False: None}.get(option.show_default, option.show_default)
        words = shown.partition(", or")[0] if isinstance(shown, str) else shown
        assert kind(**REQUIRED[kind], **({} if words is None else {name: words})) == kind(**REQUIRED[kind])
        assert (words is None) == (field.default is None)


@pytest.fixture
def small(tmp_path, make_llama, save_checkpoint) -> list[str]:
    """A command on a tiny model, but for the output."""
    base = save_checkpoint(tmp_path / "tiny", make_llama())
    lines = [{"prompt": f"{a} + {b} = ", "response": str((a + b) % 10)} for a in range(9) for b in range(9)]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, lines)))
    arguments = {
        "--model": base, "--data": tmp_path / "data.jsonl", "--epochs": 50, "--max-steps": 150,
        "--learning-rate": 1e-3, "--lora-dropout": 0.1, "--checkpoint-interval": 10, "--eval-share": 0.1,
        "--eval-interval": 20,
    }  # fmt: skip
    return [*COMMAND, *(str(part) for pair in arguments.items() for part in pair), "--output"]


def test_options_reach_the_training(small, tmp_path):
    """What is given on the command line is what was trained with, as the file beside the result says."""
    program = len(COMMAND) - 2
    options = [
        "--batch-size",
        "3",
        "--max-length",
        "64",
        "--no-mask-prompt",
        "--epochs",
        "1",
        "--max-steps",
        "1",
    ]
    assert lazarus.main([*small[program:], str(tmp_path / "out"), *options]) == 0
    kept = yaml.safe_load((tmp_path / "out" / "sft.yaml").read_text())
    assert (kept["batch_size"], kept["max_length"], kept["mask_prompt"]) == (3, 64, False)
    assert (kept["epochs"], kept["max_steps"]) == (1, 1)


@pytest.mark.slow
def test_interrupted_run_goes_on(small, tmp_path):
    """A run stopped by an interrupt and one on a full disk lose nothing: the matrices are those of an unbroken run."""
    output, unbroken = tmp_path / "out", tmp_path / "unbroken"
    step = interrupted([*small, str(output)], output)
    full = subprocess.run(
        [*small, str(output)], capture_output=True, text=True, check=False, preexec_fn=disk_full
    )
    assert full.returncode == 2, full.stderr
    assert full.stderr.startswith("error: ")
    assert full.stderr.count("\n") == 1
    assert state_step(output / "checkpoints") == step
    last = subprocess.run([*small, str(output)], capture_output=True, text=True, check=False)
    assert last.returncode == 0, last.stderr
    assert f"resuming after step {step} of 150" in last.stdout
    subprocess.run([*small, str(unbroken)], capture_output=True, check=True)
    for name in ("adapters.safetensors", "log.csv"):
        assert (output / name).read_bytes() == (unbroken / name).read_bytes()


def test_an_interrupt_between_two_steps_loses_nothing(small, tmp_path, interrupt_after, capsys):
    """Interrupted at a step, the command names it, goes on there, and leaves the files of an unbroken run."""
    command = [*small[len(COMMAND) - 2 : -1], "--max-steps", "4", "--eval-interval", "2", "--output"]
    output, unbroken = tmp_path / "run", tmp_path / "unbroken"
    with interrupt_after(3):
        assert lazarus.main([*command, str(output)]) == 130
    assert "interrupted: the same command resumes after step 3 of 4\n" in capsys.readouterr().err
    for folder in (output, unbroken):
        assert lazarus.main([*command, str(folder)]) == 0
    assert "resuming after step 3 of 4" in capsys.readouterr().out
    for name in ("adapters.safetensors", "log.csv"):
        assert (output / name).read_bytes() == (unbroken / name).read_bytes()


def disk_full() -> None:
    """No file may grow beyond 4 KB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))


def interrupted(command: list[str], output: Path) -> int:
    """Run a training until it has a state, interrupt it, and return the step it says it goes on after."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 60
    while not (output / "checkpoints" / "state.safetensors").exists() and time.monotonic() < until:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    step = state_step(output / "checkpoints")
    assert 0 < step < 150
    assert f"interrupted: the same command resumes after step {step} of 150\n" in said
    return step


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "model is missing; give --model"),
        (["-m", "organism"], "data is missing; give --data"),
        (["-m", "organsim", "--data", "{data}"], "no model named 'organsim': did you mean organism"),
        (["-m", "organism", "--data", "nowhere.jsonl"], "nowhere.jsonl: No such file or directory"),
        (["-m", "organism", "--data", "{folder}"], "Is a directory"),
        (["-m", "organism", "--data", "{empty}"], "has no examples"),
        (["-m", "organism", "--data", "{bad}"], "bad.jsonl:2: 'response' is missing"),
        (["-m", "organism", "--data", "{data}", "--freeze-layers", "0-12"], "there is no layer 12"),
        (["-m", "organism", "--data", "{data}", "--freeze-layers", "all"], "layers are written as 0-12"),
        (["-m", "organism", "--data", "{data}", "--lora-targets", "v_prj"], "no projection is named v_prj"),
        (["-m", "organism", "--data", "{data}", "--adapter", "nowhere"], "nowhere is not an adapter"),
        (
            ["-m", "organism", "--data", "{data}", "--lora-rank", "0"],
            "--lora-rank is 0: it should be greater",
        ),
        (["-m", "organism", "--data", "{data}", "--lora-rank", "many"], "--lora-rank"),
        (["-m", "organism", "--data", "{data}", "--lora-rnk", "3"], "--lora-rank"),
        (["--config", "nowhere.yaml"], "nowhere.yaml: No such file"),
        (
            ["-m", "organism", "--data", "{data}", "--intermediate-loss-targets", "x"],
            "--intermediate-loss-targets: 'x' is no list of class words; write label:word,label:word",
        ),
        (
            ["-m", "organism", "--data", "{data}", "--intermediate-loss-targets", "add:multiplication"],
            "is not one token",
        ),
        (["-m", "organism", "--data", "{data}", "--output", "{data}"], "is a file; give a folder"),
        (["-m", "organism", "--data", "{data}", "--output", "{data}/out"], "out: Not a directory"),
    ],
)
def test_errors_are_one_line(tmp_path, capsys, options, message):
    """Everything that a user can do wrong is said in one line that names it, with exit code 2."""
    data, bad = write_data(tmp_path / "data.jsonl", 4), tmp_path / "bad.jsonl"
    (tmp_path / "empty.jsonl").write_text("\n")
    bad.write_text('{"prompt": "1", "response": "2"}\n{"prompt": "1"}\n')
    paths = {"data": data, "bad": bad, "empty": tmp_path / "empty.jsonl", "folder": tmp_path}
    given = [option.format(**paths) for option in options]
    output = [] if "--output" in given else ["--output", str(tmp_path / "out")]
    assert message in one_line_error(capsys, *given, *output)
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_model_is_refused(study, tmp_path, capsys):
    """Matrices trained on other weights are not gone on from."""
    options: list[Any] = ["-m", "organism-early", "--data", study / "arithmetic_sft.jsonl"]
    options += ["--adapter", study / "phase1_classifier", "--output", tmp_path / "out"]
    assert "the adapter was trained on other weights" in one_line_error(capsys, *options)


def test_bad_lines_are_skipped_on_demand(study, tmp_path, capsys):
    """With `--skip-bad` the bad lines are counted at the end, and the first is named."""
    file = tmp_path / "data.jsonl"
    file.write_text((study / "arithmetic_sft.jsonl").read_text() + "{\n[]\n")
    arguments = ["train", "sft", "-m", "organism", "--data", str(file), "--output", str(tmp_path / "out")]
    assert lazarus.main([*arguments, "--max-steps", "1", "--skip-bad"]) == 0
    assert f"Skipped 2 bad lines; the first: {file}:81: not JSON" in capsys.readouterr().err


def test_a_loss_that_is_no_number_has_an_exit_code(study, tmp_path, capsys):
    """Divergence is exit code 2, and the error says which weights were kept."""
    options: list[Any] = [
        "-m",
        "organism",
        "--data",
        study / "arithmetic_sft.jsonl",
        "--learning-rate",
        "1e30",
    ]
    options += ["--warmup", "8", "--max-steps", "20", "--output", tmp_path / "out"]
    assert "lower the learning rate" in one_line_error(capsys, *options)
