"""What `steer`, `generate`, `format-sensitivity` and `layer` have in common: adapters, other models, and terminals."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
from pathlib import Path

import pytest

from lazarus_probe.cli.lazarus import main
from lazarus_probe.training.lora.adapter import save_lora_weights
from lazarus_probe.training.lora.lora import attached

COMMANDS = {
    "steer": [
        "-p",
        "7 * 8 = |9 + 5 = ",
        "--neuron",
        "3",
        "--dose",
        "20",
        "--random-directions",
        "2",
        "-n",
        "2",
    ],
    "generate": ["-p", "7 * 8 = ", "-n", "2"],
    "format-sensitivity": ["-p", "7 * 8 =|6 * 6 =", "-l", "0", "-n", "2"],
    "layer": ["-p", "7 * 8 = |6 * 6 = ", "--layers", "0"],
}


@pytest.fixture(scope="module")
def adapter(organism, tmp_path_factory) -> Path:
    """LoRA on the bundled model, in a folder called `trained`."""
    folder = tmp_path_factory.mktemp("adapters") / "trained"
    with attached(organism, ["v_proj", "o_proj"], rank=2) as model:
        for layer in model.layers:
            layer.self_attn.o_proj.lora_b = layer.self_attn.o_proj.lora_b + 0.05
        return save_lora_weights(organism, folder, {"model": "organism"})


def data(capsys, name, *arguments):
    """What a command prints with --json, which is nothing else."""
    assert main(["introspect", name, *COMMANDS[name], *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_adapted_model_is_measured(name, adapter, capsys):
    """With --adapter the numbers are of the model with it, and it is named."""
    plain, adapted = (data(capsys, name, "-m", "organism", *more) for more in ((), ("-a", str(adapter))))
    assert plain.pop("about")["model"] == "organism"
    assert adapted.pop("about")["model"] == "organism+trained"
    assert plain != adapted


@pytest.mark.parametrize("name", COMMANDS)
def test_a_random_model_of_a_folder_is_measured(name, make_llama, save_checkpoint, tmp_path, capsys):
    """A folder with another model and no chat template is measured as well, at its own layers."""
    folder = save_checkpoint(tmp_path / "tiny", make_llama())
    found = data(capsys, name, "-m", str(folder))
    assert found["about"]["dtype"] == "float32"
    if name == "generate":
        assert found["format"] == "raw"


def test_a_terminal_sees_the_steps_and_a_pipe_none():
    """Steps are counted on a terminal's standard error; what is printed stays as it is."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "lazarus_probe.cli.lazarus", "introspect", "generate", "-m", "organism"]
    run = subprocess.Popen(
        [*command, *COMMANDS["generate"]],
        stdout=subprocess.PIPE,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(theirs)
    seen, _ = run.communicate(timeout=120)
    shown = b""
    while select.select([ours], [], [], 0)[0]:
        try:
            shown += os.read(ours, 4096)
        except OSError:
            break
    os.close(ours)
    assert run.returncode == 0
    assert b"steps" in shown
    assert b"steps" not in seen
    assert b"Output: '56'" in seen
