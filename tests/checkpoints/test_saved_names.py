"""Weights under the names that transformers saves them by."""

from __future__ import annotations

import mlx.core as mx
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.checkpoints.saved_names import reads_saved_names

SIZES = {
    "gpt2": {"n_ctx": 32, "n_embd": 16, "n_head": 2, "n_layer": 2, "n_positions": 32, "vocab_size": 24},
    "gpt_oss": {"num_hidden_layers": 2, "num_local_experts": 3, "num_experts_per_tok": 2, "vocab_size": 24,
                "hidden_size": 16, "intermediate_size": 8, "head_dim": 8, "num_attention_heads": 2,
                "num_key_value_heads": 1, "sliding_window": 8},
}  # fmt: skip
TOKENS = mx.array([[3, 5, 7, 11]])


def built(family: str, kind=lambda model_class: model_class):
    from importlib import import_module

    module = import_module(f"mlx_lm.models.{family}")
    settings = {"model_type": family, "layer_norm_epsilon": 1e-5, "rope_theta": 1e4, **SIZES[family]}
    mx.random.seed(0)
    model = kind(module.Model)(module.ModelArgs.from_dict(settings))
    return model, module.Model


def saved(family: str, weights: dict[str, mx.array]) -> dict[str, mx.array]:
    """The weights of an mlx-lm model as transformers has them."""
    if family == "gpt2":
        linear = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
        return {
            name.replace("model.", "transformer.", 1): value.T if name.endswith(linear) else value
            for name, value in weights.items()
        }
    found = {}
    for name, value in weights.items():
        stem, _, kind = name.rpartition(".")
        if ".experts.gate_proj" in name:
            pair = value, weights[name.replace("gate_proj", "up_proj")]
            both = mx.stack(pair, axis=2 if kind == "weight" else -1)  # gate and up in turns
            joined = both.reshape(value.shape[0], -1, *value.shape[2:])
            saved_name = stem.replace("gate_proj", "gate_up_proj")
            found[saved_name if kind == "weight" else f"{saved_name}_bias"] = (
                joined.swapaxes(1, 2) if kind == "weight" else joined
            )
        elif ".experts.down_proj" in name:
            found[stem if kind == "weight" else f"{stem}_bias"] = (
                value.swapaxes(1, 2) if kind == "weight" else value
            )
        elif ".experts.up_proj" not in name:
            found[name] = value
    return found


@pytest.mark.parametrize("family", SIZES)
def test_either_names_give_the_same_model(family):
    """What transformers would save is loaded into the weights it came from, by a class that is then the usual one."""
    model, _ = built(family)
    weights = dict(tree_flatten(model.parameters()))
    expected = model(TOKENS)
    reading, own = built(family, reads_saved_names)
    theirs = saved(family, weights)
    assert set(theirs) != set(weights)
    reading.load_weights(list(reading.sanitize(theirs).items()))
    assert mx.array_equal(reading(TOKENS), expected)
    reading.__class__ = own
    assert mx.array_equal(reading(TOKENS), expected)


def test_other_architectures_are_left_alone():
    """A model class whose names are the same is not wrapped."""
    from mlx_lm.models.llama import Model

    assert reads_saved_names(Model) is Model
