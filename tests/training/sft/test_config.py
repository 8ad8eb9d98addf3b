"""Settings from YAML and the command line, and the errors of both."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from lazarus_probe.training.settings import layer_range, read_settings
from lazarus_probe.training.sft.config import SftConfig

PHASE_1 = """\
# configs/dual_reward_phase1.yaml
model: TinyLlama/TinyLlama-1.1B-Chat-v1.0
output: checkpoints/phase1_classifier

epochs: 1
max_steps: 500
batch_size: 1
learning_rate: 0.001

use_lora: true
lora_rank: 16
lora_targets: v_proj,o_proj

data: data/arithmetic_sft.jsonl

# Intermediate loss configuration
intermediate_loss:
  enabled: true
  layer: 12
  weight: 0.4
  targets:
    multiply: "multiply"
    add: "add"
    subtract: "subtract"
    divide: "divide"
"""
PHASE_2 = """\
# configs/routing_phase2.yaml
model: TinyLlama/TinyLlama-1.1B-Chat-v1.0
adapter: checkpoints/phase1_classifier
output: checkpoints/phase2_routing

epochs: 1
max_steps: 300
learning_rate: 0.0005

freeze_layers: 0-12
use_lora: true
lora_rank: 16
lora_targets: v_proj,o_proj

data: data/arithmetic_sft.jsonl
mask_prompt: true
"""


def read(folder: Path, text: str, **given: object) -> SftConfig:
    file = folder / "sft.yaml"
    file.write_text(text)
    return read_settings(SftConfig, file, given)


def test_published_configurations_load(tmp_path):
    """The two files of the published study are read as they stand there."""
    first, second = read(tmp_path, PHASE_1), read(tmp_path, PHASE_2)
    assert first.max_steps == 500
    assert first.lora_targets == ("v_proj", "o_proj")
    assert first.classifies is not None
    assert (first.classifies.layer, first.classifies.weight) == (12, 0.4)
    assert set(first.classifies.targets) == {"multiply", "add", "subtract", "divide"}
    assert second.adapter == Path("checkpoints/phase1_classifier")
    assert layer_range(str(second.freeze_layers), 22) == tuple(range(13))
    assert second.mask_prompt
    assert second.classifies is None


def test_command_line_wins_over_file_over_defaults(tmp_path):
    """A value given on the command line replaces the file's, one within a section only itself."""
    config = read(tmp_path, PHASE_1, batch_size=8, **{"intermediate_loss.layer": 3})
    assert config.batch_size == 8
    assert config.learning_rate == 0.001
    assert config.seed == 0
    assert config.classifies is not None
    assert (config.classifies.layer, config.classifies.weight) == (3, 0.4)


def test_settings_survive_being_written(tmp_path):
    """What is written of a configuration is a configuration file of the same settings."""
    config = read(tmp_path, PHASE_1)
    assert read(tmp_path, yaml.safe_dump(config.model_dump(mode="json"))) == config


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("lora_rnk: 8", r"sft.yaml:3: unknown key 'lora_rnk'; did you mean lora_rank\?"),
        ("max-steps: 8", r"sft.yaml:3: unknown key 'max-steps'; did you mean max_steps\?"),
        ("zzz: 8", r"sft.yaml:3: unknown key 'zzz'; known are model, data"),
        (
            "intermediate_loss:\n  weigth: 1",
            r"sft.yaml:4: unknown key .*did you mean intermediate_loss.weight\?",
        ),
        ("batch_size: many", "sft.yaml:3: batch_size is 'many': it should be a valid integer"),
        ("batch_size: 0", "sft.yaml:3: batch_size is 0: it should be greater than or equal to 1"),
        ("learning_rate: .nan", "learning_rate is nan: it should be a finite number"),
        ("freeze_layers: 12-0", r"sft.yaml:3: freeze_layers: layers are written as 0-12"),
        ("freeze_layers: all", "freeze_layers: layers are written as 0-12"),
        ("lora_targets: ','", "lora_targets: at least one projection"),
        ("log_format: xml", "log_format is 'xml'; give one of csv, jsonl"),
        ("patience: 3", "patience needs a validation loss; give eval_data or eval_share"),
        ("eval_data: a\neval_share: 0.1", "eval_data and eval_share both say"),
        ("seed: 1\nseed: 2", r"sft.yaml:4: not YAML: 'seed' is a duplicate key, first on line 3"),
        ("use_lora: false\nlora_dropout: 0.5", "lora_dropout has nothing to drop"),
        ("a: [", r"sft.yaml:4: not YAML"),
    ],
)
def test_bad_settings_are_named(tmp_path, line, message):
    """Every wrong key or value is refused with where it stands and what would be right."""
    with pytest.raises(ValueError, match=message) as error:
        read(tmp_path, f"model: organism\ndata: data.jsonl\n{line}\n")
    assert "\n" not in str(error.value)


def test_wrong_option_is_named_as_an_option(tmp_path):
    """A value from the command line is not blamed on the file."""
    with pytest.raises(ValueError, match=r"^--batch-size is 0: it should be greater"):
        read(tmp_path, PHASE_1, batch_size=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "^model is missing; give --model"), ("- a\n", "must hold settings"), ("7", "must hold settings")],
)
def test_files_without_settings_are_refused(tmp_path, text, message):
    """An empty file lacks the model; a file that is no mapping is refused."""
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_a_file_of_bytes_is_refused(tmp_path):
    """A binary file is no configuration."""
    (tmp_path / "x.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="not UTF-8"):
        read_settings(SftConfig, tmp_path / "x.yaml")


@pytest.mark.parametrize(
    ("text", "layers"), [("0-2", (0, 1, 2)), ("3", (3,)), ("0-1, 4-5,4", (0, 1, 4, 5)), ("7", (7,))]
)
def test_layer_ranges(text, layers):
    """Ranges and single layers, in any mixture."""
    assert layer_range(text, 8) == layers


def test_layers_outside_the_model_are_refused():
    """The published range does not fit the bundled model, and the error says what would."""
    with pytest.raises(ValueError, match="0-12: there is no layer 12; the model's are 0 to 7"):
        layer_range("0-12", 8)


@pytest.mark.parametrize(("given", "text"), [("5", "5"), ("[0, 1]", "0,1"), ("0-3", "0-3")])
def test_layers_as_yaml_writes_them(tmp_path, given, text):
    """One number and a list mean the same as their text."""
    assert read(tmp_path, f"model: m\ndata: d\nfreeze_layers: {given}\n").freeze_layers == text


def test_home_in_a_file_is_the_home(tmp_path, monkeypatch):
    """No shell reads YAML: `~` there is the home folder, and no folder of that name is made."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = read(tmp_path, "model: organism\ndata: ~/data.jsonl\noutput: ~/runs/one\n")
    assert config.data == tmp_path / "data.jsonl"
    assert config.output == tmp_path / "runs" / "one"
