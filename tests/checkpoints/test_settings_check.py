"""Settings of a checkpoint are held against its weights before anything is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import _get_classes

from lazarus_probe.checkpoints.config import section_of, translated
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.settings_check import WeightTotals, check_plain, check_settings, totals_of
from lazarus_probe.files.tensors import TensorEntry
from tests.architectures import zoo

PATH = Path("config.json")
# What is read by another configuration's rules in the table, not as a checkpoint.
NOT_AS_A_CHECKPOINT = ("prism_hadamard_qwen35",)


def check(config, weights: WeightTotals) -> None:
    config = json.loads(json.dumps(config))
    check_plain(PATH, config)
    classes = _get_classes(config)
    section = section_of({**config, **translated(config, *classes)}, *classes)
    check_settings(PATH, section.settings, section.arguments, weights)


def test_settings_of_every_architecture_are_those_of_its_weights():
    """Nothing that mlx-lm runs is refused: types, nulls, lists and sizes of all its architectures pass."""
    names = [name for name in zoo.architectures() if name not in NOT_AS_A_CHECKPOINT]
    assert len(names) > 150
    for name in names:
        shapes = [tuple(value.shape) for _, value in tree_flatten(zoo.build(name).parameters())]
        check(zoo.config(name), totals_of(TensorEntry("F32", shape, 0, 0) for shape in shapes))


LLAMA = {
    "model_type": "llama", "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 4, "intermediate_size": 48,
    "num_attention_heads": 4, "num_key_value_heads": 2, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
}  # fmt: skip
WEIGHTS = WeightTotals(tensors=38, longest=64, stacked=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_hidden_layers": 10**9}, "num_hidden_layers is 1000000000, but the weights have 38 tensors"),
        ({"num_hidden_layers": 39}, "num_hidden_layers is 39, but the weights have 38 tensors"),
        ({"hidden_size": 10**7}, "hidden_size is 10000000, but the longest axis of the weights is 64"),
        ({"vocab_size": 0}, "vocab_size is 0; a whole number of at least 1 is needed"),
        ({"hidden_size": "512"}, "hidden_size is '512'; a whole number is needed"),
        ({"intermediate_size": -48}, "intermediate_size is -48; a size cannot be negative"),
        ({"head_dim": 1.5}, "head_dim is 1.5; a whole number of at least 1 is needed"),
        ({"num_attention_heads": None}, "num_attention_heads is null"),
        ({"rms_norm_eps": float("nan")}, "rms_norm_eps is nan; a finite number is needed"),
        ({"hidden_size": 10**30}, "hidden_size is a number of 20 digits and more"),
        ({"max_position_embeddings": "512"}, "max_position_embeddings is '512'"),
        ({"num_experts": 1000}, "num_experts is 1000, but the weights have 38 tensors, and stacks of 0"),
        ({"layer_types": ["full_attention"] * 10_000}, "layer_types is of 10000 layers"),
        ({"eos_token_id": "x"}, "eos_token_id is 'x'; the id of a token"),
        ({"quantization": {"bits": 0, "group_size": 32}}, "bits of quantization is 0"),
        ({"quantization_config": "awq"}, "quantization_config is 'awq'; an object is needed"),
        ({"rope_scaling": 5}, "rope_scaling is 5; an object is needed"),
        ({"model_type": "../llama"}, "model_type is '../llama'"),
        ({"tie_word_embeddings": "no"}, "tie_word_embeddings is 'no'; true or false is needed"),
    ],
)
def test_a_setting_that_cannot_be_is_named(change, message):
    """The error has the file, the field, its value, and what would be right."""
    check(LLAMA, WEIGHTS)
    with pytest.raises(LoadError, match=f"config.json: {message}") as raised:
        check({**LLAMA, **change}, WEIGHTS)
    assert "\n" not in str(raised.value)


def test_numbers_that_may_be_null_infinite_or_for_each_layer_pass():
    """Null means the default, and a limit may have no end."""
    check({**LLAMA, "num_key_value_heads": None, "head_dim": None, "sliding_window": None}, WEIGHTS)
    check({**LLAMA, "time_step_limit": [0.0, float("inf")], "eos_token_id": [1, 2]}, WEIGHTS)
