"""Every command line of the documents runs as written, but for the model's name and the numbers of its layers."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from lazarus_probe.cli import circuit, lazarus
from lazarus_probe.subject import Subject
from lazarus_probe.tasks.arithmetic import facts

LINES: list[dict[str, Any]] = [
    line
    for part in yaml.safe_load(Path(__file__).with_name("seed_commands.yaml").read_text(encoding="utf-8"))
    for line in part["lines"]
]
KEYS = {
    command: parts.get("keys", [])
    for command, parts in yaml.safe_load(
        (Path(__file__).parents[1] / "docs" / "seeds.yaml").read_text(encoding="utf-8")
    )["commands"].items()
}
PROGRAMS = {"lazarus": lazarus.main, "circuit": circuit.main}
PHASE1 = """
model: organism
output: checkpoints/phase1_classifier
epochs: 1
max_steps: 500
batch_size: 1
learning_rate: 0.001
use_lora: true
lora_rank: 16
lora_targets: v_proj,o_proj
data: data/arithmetic_sft.jsonl
intermediate_loss:
  enabled: true
  layer: 4
  weight: 0.4
  targets: {multiply: multiply, add: add, subtract: subtract, divide: divide}
"""
PHASE2 = """
model: organism
adapter: checkpoints/phase1_classifier
output: checkpoints/phase2_routing
epochs: 1
max_steps: 300
learning_rate: 0.0005
freeze_layers: 0-4
use_lora: true
lora_rank: 16
lora_targets: v_proj,o_proj
data: data/arithmetic_sft.jsonl
mask_prompt: true
"""


def run_as(line: dict[str, Any]) -> str:
    """The line as it is run; in the documents a model is written after `-m`."""
    return str(line.get("run") or re.sub(r"(?<= -m )\S+", "organism", line["written"]))


def shortened(line: dict[str, Any]) -> str:
    """The line with fewer training steps, where it trains; and saved, where its keys are to be seen."""
    command = run_as(line)
    for words, fewer in line.get("short", {}).items():
        command = command.replace(words, fewer)
    saved = " -o " in command or " --output " in command
    return command if saved or not line.get("keys") else f"{command} -o keys.json"


def prepared(place: Path) -> Path:
    """A folder with the data and the settings that the documents train by."""
    (place / "data").mkdir()
    (place / "configs").mkdir()
    rows = [
        {"prompt": fact.prompt(), "response": str(fact.answer), "label": fact.operation}
        for operation in ("multiply", "add", "subtract", "divide")
        for fact in list(facts(operation))[::40]
    ]
    (place / "data" / "arithmetic_sft.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (place / "configs" / "dual_reward_phase1.yaml").write_text(PHASE1)
    (place / "configs" / "routing_phase2.yaml").write_text(PHASE2)
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lines run, one after the other."""
    return prepared(tmp_path_factory.mktemp("seeds"))


@pytest.fixture(scope="module")
def full_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lines that train run in full, one after the other."""
    return prepared(tmp_path_factory.mktemp("full"))


def check(line: dict[str, Any], command: str, printed: str) -> None:
    """What the document shows is printed, and what the line writes is there."""
    assert printed.strip(), command
    for pattern in line.get("shows", []):
        assert re.search(pattern, printed), f"{command}\nprints no {pattern!r}:\n{printed}"
    for name in line.get("writes", []):
        file = Path(name)
        assert file.stat().st_size > 0, name
    if line.get("keys"):
        names = [*line.get("writes", []), *(["keys.json"] if "keys.json" in command else [])]
        found = {key for name in names if not name.endswith(".png") for key in keys_in(name)}
        missing = [key for key in expected_keys(command) if not any(key in name for name in found)]
        assert missing == []


def keys_in(name: str) -> set[str]:
    """The keys of a file: those of JSON however deep, or the names of arrays."""
    if name.endswith(".npz"):
        with np.load(name, allow_pickle=False) as file:
            return set(file.files)
    if name.endswith(".safetensors"):
        return set(load_file(name))
    return keys_below(json.loads(Path(name).read_text(encoding="utf-8")))


def keys_below(value: Any) -> set[str]:
    """Every key within, however deep."""
    if isinstance(value, dict):
        return {*value, *(key for each in value.values() for key in keys_below(each))}
    return {key for each in value for key in keys_below(each)} if isinstance(value, list) else set()


def expected_keys(command: str) -> list[str]:
    """The keys that the documents list for the command of a line."""
    return next(keys for name, keys in KEYS.items() if f"{command} ".startswith(f"{name} "))


def cases(*, long: bool) -> list[Any]:
    """The lines that are run, by what they are run as."""
    wanted = [line for line in LINES if "tested" not in line and (long or not line.get("long"))]
    return [
        pytest.param(line, id=run_as(line)[:90], marks=[pytest.mark.slow] if line.get("slow") else [])
        for line in wanted
    ]


@pytest.mark.nested
@pytest.mark.parametrize("line", cases(long=False))
def test_line_runs(line: dict[str, Any], folder: Path, capsys, monkeypatch):
    """The line exits with 0, prints what the document shows, and leaves the files that it names."""
    monkeypatch.chdir(folder)
    program, *arguments = shlex.split(shortened(line))
    code = PROGRAMS[program](arguments)
    printed, errors = capsys.readouterr()
    assert code == 0, errors
    check(line, shortened(line), printed)


@pytest.mark.parametrize("line", [line for line in LINES if line.get("slow")], ids=run_as)
def test_line_is_read_as_far_as_its_model(line: dict[str, Any], tmp_path: Path, capsys, monkeypatch):
    """A line that takes long has options that its command knows, and goes on to load its model."""

    def refused(name: str, *_: Any) -> None:
        raise ValueError(f"loading {name}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Subject, "load", refused)
    program, *arguments = shlex.split(run_as(line))
    assert PROGRAMS[program](arguments) == 2
    assert capsys.readouterr().err.startswith("error: loading organism")


@pytest.mark.long
@pytest.mark.parametrize("line", [case for case in cases(long=True) if {"short", "long"} & {*case.values[0]}])
def test_line_runs_in_full(line: dict[str, Any], full_folder: Path, capsys, monkeypatch):
    """Where the everyday test trains for fewer steps, the line as it stands does what the document shows."""
    monkeypatch.chdir(full_folder)
    program, *arguments = shlex.split(run_as(line))
    assert PROGRAMS[program](arguments) == 0
    check(line, run_as(line), capsys.readouterr().out)


@pytest.mark.parametrize(
    "line", [line for line in LINES if "tested" in line], ids=lambda line: line["run"][:60]
)
def test_line_that_was_a_script_is_tested_elsewhere(line: dict[str, Any]):
    """The test named for a line runs the command that takes its place."""
    phase = shlex.split(line["run"])[3]
    assert f'"{phase}"' in (Path(__file__).parents[2] / line["tested"]).read_text(encoding="utf-8")
