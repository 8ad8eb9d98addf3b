"""LoRA as the peft library saves it, against the same update reckoned in NumPy, and what is refused by its name."""

from __future__ import annotations

import json
from math import sqrt
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.adapters.adapter_files import check_adapter
from lazarus_probe.anatomy.projections import adapted
from lazarus_probe.cli import lazarus
from lazarus_probe.subject import LoadError, Subject, forward

TOKENS = mx.array([[3, 5, 7, 11, 13, 2]])
# Inputs and outputs of the projections that matrices are made for.
SIZES = {"self_attn.q_proj": (32, 32), "self_attn.v_proj": (32, 16), "mlp.down_proj": (48, 32)}
WEIGHTS, SETTINGS = "adapter_model.safetensors", "adapter_config.json"
KEY = "base_model.model.model.layers.1.self_attn.v_proj.lora_A.weight"


@pytest.fixture
def checkpoint(tmp_path, make_llama, save_checkpoint) -> Path:
    """A tiny Llama with grouped key heads."""
    return Path(save_checkpoint(tmp_path / "tiny", make_llama(num_key_value_heads=2)))


def matrices(layers=range(4), rank=4, ranks=None) -> dict[str, np.ndarray]:
    """Random matrices A (rank, inputs) and B (outputs, rank), under the names that peft gives them."""
    rng, made = np.random.default_rng(3), {}
    for layer in layers:
        for path, (inputs, outputs) in SIZES.items():
            r = (ranks or {}).get(path, rank)
            module = f"base_model.model.model.layers.{layer}.{path}"
            made[f"{module}.lora_A.weight"] = rng.normal(size=(r, inputs)).astype(np.float32)
            made[f"{module}.lora_B.weight"] = rng.normal(size=(outputs, r)).astype(np.float32) / 4
    return made


def save(folder: Path, made: dict[str, np.ndarray], dtype: mx.Dtype = mx.float32, **settings: Any) -> Path:
    """A folder as peft writes it."""
    folder.mkdir(exist_ok=True)
    mx.save_safetensors(
        str(folder / WEIGHTS), {key: mx.array(value).astype(dtype) for key, value in made.items()}
    )
    usual = {
        "peft_type": "LORA",
        "base_model_name_or_path": "org/tiny",
        "r": 4,
        "lora_alpha": 6,
        "target_modules": ["q_proj", "v_proj", "down_proj"],
        "bias": "none",
        "use_dora": False,
        "modules_to_save": None,
        "task_type": "CAUSAL_LM",
    }
    (folder / SETTINGS).write_text(json.dumps({**usual, **settings}))
    return folder


# Settings, and the scale that each projection's product is to have.
KINDS: dict[str, tuple[dict[str, Any], Any]] = {
    "plain": ({}, lambda *_: 6 / 4),
    "rslora": ({"use_rslora": True}, lambda *_: 6 / sqrt(4)),
    "alpha by module": (
        {"alpha_pattern": {"v_proj": 10, "layers.2.mlp.down_proj": 1}},
        lambda path, layer: (
            (10 if "v_proj" in path else 1 if (layer, path) == (2, "mlp.down_proj") else 6) / 4
        ),
    ),
    "by a pattern": ({"target_modules": r".*\.(q_proj|v_proj|down_proj)"}, lambda *_: 6 / 4),
    "all-linear": ({"target_modules": "all-linear"}, lambda *_: 6 / 4),
    "the base the other way round": ({"fan_in_fan_out": True}, lambda *_: 6 / 4),
}


def in_numpy(naive, subject: Subject, made: dict[str, np.ndarray], scale) -> np.ndarray:
    """The logits of the plain model with the updates added to its weights, all of it in NumPy."""
    for layer, block in enumerate(subject.model.layers):
        for path in SIZES:
            module = f"base_model.model.model.layers.{layer}.{path}"
            if f"{module}.lora_A.weight" in made:
                part, name = path.split(".")
                linear = getattr(getattr(block, part), name)
                update = made[f"{module}.lora_B.weight"] @ made[f"{module}.lora_A.weight"]
                linear.weight = mx.array(np.array(linear.weight) + scale(path, layer) * update)
    return naive(subject.model, np.array(TOKENS))["logits"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_update_is_that_of_numpy(checkpoint, tmp_path, naive, kind):
    """Each way of setting scale and targets gives the logits of the weights with the product added in NumPy."""
    settings, scale = KINDS[kind]
    made = matrices()
    found = forward(Subject.load(checkpoint, save(tmp_path / "peft", made, **settings)).model, TOKENS)
    expected = in_numpy(naive, Subject.load(checkpoint), made, scale)
    np.testing.assert_allclose(np.array(found), expected, atol=2e-3)
    plain = np.array(forward(Subject.load(checkpoint).model, TOKENS))
    assert np.abs(plain - expected).max() > 0.5


def test_ranks_by_module(checkpoint, tmp_path, naive):
    """A rank that a pattern gives to some modules is theirs, and their scale is reckoned with it."""
    made = matrices(ranks={"mlp.down_proj": 2})
    folder = save(tmp_path / "peft", made, rank_pattern={"down_proj": 2})
    found = forward(Subject.load(checkpoint, folder).model, TOKENS)
    scale = lambda path, _: 6 / (2 if path == "mlp.down_proj" else 4)  # noqa: E731 - one line of arithmetic
    expected = in_numpy(naive, Subject.load(checkpoint), made, scale)
    np.testing.assert_allclose(np.array(found), expected, atol=2e-3)


def test_some_blocks_only(checkpoint, tmp_path):
    """`layers_to_transform` names the blocks that have matrices; on the others there is nothing."""
    folder = save(tmp_path / "peft", matrices(layers=[1, 3]), layers_to_transform=[1, 3])
    subject = Subject.load(checkpoint, folder)
    assert {place.layer for place in adapted(subject.anatomy)} == {1, 3}
    assert subject.name == "tiny+peft"


def test_half_precision_is_kept_exactly(checkpoint, tmp_path):
    """Matrices saved in bfloat16 are computed with in float32, as peft does."""
    subject = Subject.load(checkpoint, save(tmp_path / "peft", matrices(), mx.bfloat16))
    assert {place.module.lora_a.dtype for place in adapted(subject.anatomy)} == {mx.float32}


def test_adapters_of_other_scale_have_other_fingerprints(checkpoint, tmp_path):
    """The alpha is part of the identity of what was loaded."""
    one, two = (Subject.load(checkpoint, save(tmp_path / "peft", matrices(), lora_alpha=a)) for a in (6, 7))
    assert one.fingerprint != two.fingerprint


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another kind": ({"peft_type": "IA3"}, "peft_type is 'IA3', and only LORA is loaded; merge it"),
    "DoRA": ({"use_dora": True}, "use_dora is True, and only plain LoRA is loaded"),
    "whole modules": ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\], and only plain LoRA"),
    "biases": ({"bias": "all"}, "bias is 'all', and only plain LoRA"),
    "parameters": ({"target_parameters": ["experts.up"]}, "target_parameters is .* and only plain LoRA"),
    "what is not known": ({"use_something_new": True}, "use_something_new is True, and only plain LoRA"),
    "PiSSA": ({"init_lora_weights": "pissa_niter_4"}, "init_lora_weights is 'pissa_niter_4', which changed the"),
    "rank 0": ({"r": 0}, "r is 0; a whole number of at least 1"),
    "rank as text": ({"r": "4"}, "r is '4'; a whole number"),
    "alpha as text": ({"lora_alpha": "20"}, "lora_alpha is '20'; a finite number is needed"),
    "alpha not finite": ({"lora_alpha": float("inf")}, "lora_alpha is inf; a finite number is needed"),
    "alpha too large": ({"lora_alpha": 10**400}, "lora_alpha is 1000.*; a finite number is needed"),
    "rank of a module": ({"rank_pattern": {"q_proj": -1}}, "rank_pattern.q_proj is -1"),
    "flag": ({"use_rslora": "yes"}, "use_rslora is 'yes'; true or false is needed"),
    "layers": ({"layers_to_transform": ["1"]}, "layers_to_transform is .*; whole numbers are needed"),
    "no pattern": ({"alpha_pattern": {"(": 1}}, "alpha_pattern: '\\(' is no pattern"),
    "a pattern that never ends": ({"alpha_pattern": {"(a+)+": 1}}, ".* repeats too much to be tried"),
}  # fmt: skip


@pytest.mark.parametrize("kind", REFUSED)
def test_settings_that_are_no_plain_lora_are_refused_before_the_model_is_loaded(tmp_path, kind):
    """Each is one line that names the file, the setting and its value; most say what to do."""
    settings, message = REFUSED[kind]
    folder = save(tmp_path / "peft", matrices(), **settings)
    with pytest.raises(LoadError, match=rf"{SETTINGS}: {message}") as raised:
        check_adapter(folder)
    assert "\n" not in str(raised.value)


def changed(**changes: Any) -> dict[str, np.ndarray]:
    """The matrices with others in their place, or without those that are None."""
    return {key: value for key, value in {**matrices(), **changes}.items() if value is not None}


TENSORS: dict[str, tuple[dict[str, Any], str]] = {
    "a shape": ({KEY: np.zeros((4, 33), np.float32)}, r"lora_A.weight is \(4, 33\); \(4, 32\) fits rank 4 and tiny"),
    "another rank": ({KEY: np.zeros((2, 32), np.float32)}, r"is \(2, 32\); \(4, 32\) fits rank 4"),
    "half a pair": ({KEY: None}, "layers.1.self_attn.v_proj.lora_A.weight is missing"),
    "not finite": ({KEY: np.full((4, 32), np.nan, np.float32)}, "lora_A.weight holds numbers that are not finite"),
    "a block too many": (
        {KEY.replace("layers.1", "layers.9"): np.zeros((4, 32), np.float32)},
        "model.layers.9.self_attn.v_proj matches nothing in tiny; its blocks are 0 to 3",
    ),
    "another name": (
        {KEY.replace("v_proj", "w_proj"): np.zeros((4, 32), np.float32)},
        "self_attn.w_proj matches nothing in tiny; its block 1 has mlp.down_proj, ",
    ),
    "no target": (
        {KEY.replace("v_proj", "k_proj"): np.zeros((4, 32), np.float32)},
        "k_proj is none of the modules that target_modules in adapter_config.json names",
    ),
    "the head": (
        {"base_model.model.lm_head.lora_A.weight": np.zeros((4, 32), np.float32)},
        "lm_head is no part of a block",
    ),
    "an embedding": (
        {"base_model.model.model.embed_tokens.lora_embedding_A": np.zeros((4, 64), np.float32)},
        "is LoRA on an embedding",
    ),
    "DoRA's": ({KEY.replace("lora_A", "lora_magnitude_vector"): np.zeros(16, np.float32)}, "is DoRA, and only LoRA"),
    "something else": ({"what": np.zeros(3, np.float32)}, "what is no matrix of LoRA"),
}  # fmt: skip


@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_do_not_fit_are_refused_by_name(checkpoint, tmp_path, kind):
    """Each is one line that names the file and the tensor or module."""
    changes, message = TENSORS[kind]
    with pytest.raises(LoadError, match=message) as raised:
        Subject.load(checkpoint, save(tmp_path / "peft", changed(**changes)))
    assert f"{WEIGHTS}: " in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_module_without_matrices_is_missed(checkpoint, tmp_path):
    """A pair that is gone altogether is missed, for the settings name its module."""
    gone = {KEY: None, KEY.replace("lora_A", "lora_B"): None}
    with pytest.raises(
        LoadError, match=r"layers\.1\.self_attn\.v_proj has no matrices, which adapter_config"
    ):
        Subject.load(checkpoint, save(tmp_path / "peft", changed(**gone)))


def test_files_that_are_no_adapter_are_named(tmp_path, checkpoint):
    """A pickle, missing weights, a folder of a model, and a file are each said to be what they are."""
    folder = save(tmp_path / "peft", matrices())
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(
        LoadError, match=r"its weights are in adapter_model\.bin, a pickle, which may hold code"
    ):
        check_adapter(folder)
    (folder / "adapter_model.bin").unlink()
    with pytest.raises(
        LoadError, match=r"not a whole adapter of peft: adapter_model\.safetensors is missing"
    ):
        check_adapter(folder)
    with pytest.raises(LoadError, match="it holds a whole model; give it as the model"):
        check_adapter(checkpoint)
    with pytest.raises(LoadError, match="it is a file; give the folder of one"):
        check_adapter(checkpoint / "config.json")
    save(folder, matrices())
    (folder / "adapters.safetensors").write_bytes((folder / WEIGHTS).read_bytes())
    with pytest.raises(LoadError, match="remove the one not meant"):
        check_adapter(folder)


def test_commands_take_it(checkpoint, tmp_path, capsys):
    """`--adapter` takes the folder, hooks do on it what they say, and `weight-diff` reads it as what comes after."""
    folder = save(tmp_path / "peft", matrices())
    assert lazarus.main(["anatomy", "-m", str(checkpoint), "--adapter", str(folder)]) == 0
    assert "tiny+peft: hooks do what they say" in capsys.readouterr().out
    compared = ["introspect", "weight-diff", "--base", str(checkpoint), "--finetuned", str(folder)]
    assert lazarus.main(compared) == 0
    assert "tiny+peft" in capsys.readouterr().out


def test_an_adapter_in_several_files_is_said_to_be_one(tmp_path):
    """Weights that peft split are named, with what to do, and not called missing."""
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    for number in (1, 2):
        (tmp_path / f"adapter_model-0000{number}-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(LoadError, match=r"its weights are in several files, .*max_shard_size"):
        check_adapter(tmp_path)
