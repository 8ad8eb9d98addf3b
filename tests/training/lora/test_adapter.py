"""What training changed, written down and read back."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.adapters.adapter import load_adapter
from lazarus_probe.subject import Subject, forward
from lazarus_probe.training.lora.adapter import save_adapter, save_lora_weights
from lazarus_probe.training.lora.lora import attach, attached
from tests.architectures.zoo import build
from tests.training.lora.adopted_lora import adopt

TOKENS = mx.array([[0, 5, 9, 3, 7]])
MLX = ("adapters.safetensors", "adapter_config.json")
NPZ = ("lora_weights.npz", "config.json")
# Where LoRA goes, on which layers: a suffix of them and not, fused, experts, names that are in a block twice.
PLACES = {
    "llama": (["v_proj", "o_proj"], None),
    "llama_4bit": (["v_proj", "down_proj"], [1]),
    "phi3": (["qkv_proj"], [0, 2]),
    "mixtral": (["down_proj", "gate"], [1, 2]),
    "qwen2_moe": (["shared_expert.down_proj", "v_proj"], None),
    "gpt_oss_4bit": (["gate_proj", "router"], [1]),
    "jamba": (["in_proj", "q_proj"], None),
    "gpt_neox": (["query_key_value", "dense"], [-1]),
    "rwkv7": (["lora"], [0]),
}


@pytest.fixture
def folder(tmp_path, make_llama, save_checkpoint) -> Path:
    """A checkpoint of a Llama with grouped heads."""
    return Path(save_checkpoint(tmp_path / "tiny", make_llama(num_key_value_heads=2)))


def fresh(name: str) -> Subject:
    return Subject.from_model(build.__wrapped__(name), name=name)


def train(subject: Subject, dtype: mx.Dtype = mx.float32) -> None:
    """Stands for training: other values for every LoRA matrix."""
    for path, module in subject.model.named_modules():
        if "lora_b" in module:
            key = mx.random.key(sum(map(ord, path)))
            module.lora_b = 0.1 * mx.random.normal(module.lora_b.shape, key=key)
            module.lora_a, module.lora_b = module.lora_a.astype(dtype), module.lora_b.astype(dtype)


def settings_of(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text()))


@pytest.mark.parametrize("name", PLACES)
def test_every_kind_of_projection_comes_back_bit_for_bit(name, tmp_path):
    """Each format, and mlx-lm's own loader, gives the logits that were saved, to the last bit."""
    from mlx_lm.tuner.utils import load_adapters

    targets, layers = PLACES[name]
    subject = fresh(name)
    with attached(subject, targets, rank=3, scale=1.5, layers=layers) as model:
        train(subject)
        expected = forward(model, TOKENS)
        save_adapter(subject, tmp_path / "mlx", base=name)
        save_lora_weights(subject, tmp_path / "npz", {})
    assert not mx.array_equal(forward(subject.model, TOKENS), expected)
    for kind in ("mlx", "npz"):
        loaded = fresh(name)
        load_adapter(loaded, tmp_path / kind)
        assert mx.array_equal(forward(loaded.model, TOKENS), expected), kind
    theirs = build.__wrapped__(name)
    load_adapters(theirs, str(tmp_path / "mlx"))
    assert mx.array_equal(forward(theirs, TOKENS), expected)


def test_mlx_lm_loads_a_checkpoint_with_the_adapter(folder, tmp_path):
    """`mlx_lm.load` with the written folder gives the logits of `Subject.load` with it, and those saved."""
    from mlx_lm import load

    subject = Subject.load(folder)
    attach(subject, ["v_proj", "o_proj"], rank=4, layers=[0, 2])
    train(subject)
    save_adapter(subject, tmp_path / "trained", base=str(folder))
    expected = forward(subject.model, TOKENS)
    model, *_ = load(str(folder), adapter_path=str(tmp_path / "trained"))
    assert mx.array_equal(forward(model, TOKENS), expected)
    ours = Subject.load(folder, tmp_path / "trained")
    assert mx.array_equal(forward(ours.model, TOKENS), expected)
    assert ours.fingerprint == subject.fingerprint
    adopt(ours).detach()
    assert ours.fingerprint == Subject.load(folder).fingerprint


def test_lora_weights_have_the_names_and_true_shapes(folder, tmp_path):
    """`layer_{i}_{v,o}_{A,B}`: A has the inputs, B the outputs, fewer for v under grouped-query attention."""
    subject = Subject.load(folder)
    with attached(subject, ["v_proj", "o_proj", "gate_proj"], rank=4, layers=[1, 3]):
        train(subject)
        given = {
            "model": "org/name",
            "classifier_layer": 2,
            "cls_weight": 0.4,
            "steps": 500,
            "final_accuracy": 1.0,
        }
        save_lora_weights(subject, tmp_path, given)
        layer = subject.model.layers[3].self_attn.v_proj
        with np.load(tmp_path / "lora_weights.npz", allow_pickle=False) as file:
            shapes = {key: file[key].shape for key in file.files}
            x = np.random.default_rng(0).normal(size=(5, 32)).astype(np.float32)
            update = 2.0 * x @ file["layer_3_v_A"] @ file["layer_3_v_B"]
        with_update, without = np.array(layer(mx.array(x))), np.array(layer.linear(mx.array(x)))
    np.testing.assert_allclose(with_update - without, update, atol=1e-4)
    sizes = {"v": (32, 16), "o": (32, 32), "gate": (32, 48)}
    assert shapes == {
        f"layer_{layer}_{name}_{matrix}": shape
        for layer in (1, 3)
        for name, (inputs, outputs) in sizes.items()
        for matrix, shape in {"A": (inputs, 4), "B": (4, outputs)}.items()
    }
    config = settings_of(tmp_path / "config.json")
    assert given.items() <= config.items()
    assert (config["lora_rank"], config["scale"], config["layers"]) == (4, 2.0, [1, 3])
    assert config["targets"] == ["gate_proj", "o_proj", "v_proj"]


def test_ambiguous_names_are_written_as_paths(tmp_path):
    """Where two linear layers of a block have one name, or a short name is one of its own, the path is written."""
    subject = fresh("qwen2_moe")
    with attached(subject, ["down_proj", "gate", "v_proj"], rank=2, layers=[1]):
        save_lora_weights(subject, tmp_path, {})
    with np.load(tmp_path / "lora_weights.npz") as file:
        assert {key.removesuffix("_A") for key in file.files if key.endswith("_A")} == {
            "layer_1_mlp.gate",
            "layer_1_mlp.shared_expert.down_proj",
            "layer_1_mlp.switch_mlp.down_proj",
            "layer_1_v",
        }


@pytest.mark.parametrize(
    ("layers", "keys"),
    [
        ([2, 3], (2, ["self_attn.v_proj"])),
        ([0, 2], (4, ["model.layers.0.self_attn.v_proj", "model.layers.2.self_attn.v_proj"])),
    ],
)
def test_mlx_lm_is_told_exactly_our_projections(grouped, tmp_path, layers, keys):
    """The last blocks are named as mlx-lm names them; others by their paths, so that no other has LoRA."""
    with attached(grouped, ["v_proj"], rank=2, layers=layers):
        save_adapter(grouped, tmp_path, base="grouped")
    settings = settings_of(tmp_path / "adapter_config.json")
    assert (settings["num_layers"], settings["lora_parameters"]["keys"]) == keys
    assert settings["lora_parameters"].items() >= {"rank": 2, "scale": 2.0, "dropout": 0.0}.items()
    assert (settings["fine_tune_type"], settings["model"]) == ("lora", "grouped")


def test_ranks_of_their_own_are_for_lora_weights_alone(make_llama, tmp_path):
    """A rank for each target comes back through lora_weights.npz, and mlx-lm's format refuses it by name."""
    subject = Subject.from_model(make_llama())
    with attached(subject, ["v_proj", "o_proj"], rank={"v_proj": 2, "o_proj": 5}) as model:
        train(subject)
        expected = forward(model, TOKENS)
        with pytest.raises(
            ValueError, match=r"of ranks \[2, 5\] and mlx-lm's format has one rank; use lora_weights"
        ):
            save_adapter(subject, tmp_path, base="x")
        save_lora_weights(subject, tmp_path, {})
    assert settings_of(tmp_path / "config.json")["lora_rank"] == {"v_proj": 2, "o_proj": 5}
    load_adapter(subject, tmp_path)
    assert mx.array_equal(forward(subject.model, TOKENS), expected)


@pytest.mark.parametrize("dtype", [mx.bfloat16, mx.float16])
def test_16_bit_matrices_come_back_as_they_were(make_llama, tmp_path, dtype):
    """NumPy has no bfloat16; what is read back has the type and the values that were saved, in both formats."""
    subject = Subject.from_model(make_llama())
    with attached(subject, ["v_proj"], rank=2) as model:
        train(subject, dtype)
        saved = dict(tree_flatten(model.trainable_parameters()))
        save_lora_weights(subject, tmp_path / "npz", {})
        save_adapter(subject, tmp_path / "mlx", base="x")
    for kind in ("npz", "mlx"):
        loaded = Subject.from_model(make_llama())
        load_adapter(loaded, tmp_path / kind)
        found = dict(tree_flatten(loaded.model.parameters()))
        for name, value in saved.items():
            assert found[name].dtype == dtype
            assert mx.array_equal(found[name], value)


def test_an_adapter_that_was_loaded_is_saved_with_what_was_added(make_llama, tmp_path):
    """Trained on after loading, on other layers, the whole LoRA is in the folder: nothing of the first is lost."""
    subject = Subject.from_model(make_llama())
    with attached(subject, ["v_proj"], rank=2, layers=[0, 1]):
        train(subject)
        save_adapter(subject, tmp_path / "first", base="x")
    load_adapter(subject, tmp_path / "first")
    attach(subject, ["v_proj"], rank=2, layers=[3])
    train(subject)
    save_adapter(subject, tmp_path / "second", base="x")
    save_lora_weights(subject, tmp_path / "second", {})
    expected = forward(subject.model, TOKENS)
    loaded = Subject.from_model(make_llama())
    load_adapter(loaded, tmp_path / "second")
    assert mx.array_equal(forward(loaded.model, TOKENS), expected)
    assert settings_of(tmp_path / "second" / "config.json")["layers"] == [0, 1, 3]


def test_a_full_fine_tune_is_its_trained_weights(folder, tmp_path):
    """Without LoRA the weights that are trained are saved, no others, and mlx-lm loads them as "full"."""
    from mlx_lm import load

    subject = Subject.load(folder)
    subject.model.freeze()
    subject.model.layers[2].mlp.unfreeze()
    moved = mx.random.normal((32, 48), key=mx.random.key(3))
    subject.model.layers[2].mlp.down_proj.weight = moved
    save_adapter(subject, tmp_path / "full", base="tiny")
    expected = forward(subject.model, TOKENS)
    assert set(mx.load(str(tmp_path / "full" / MLX[0]))) == {
        f"model.layers.2.mlp.{name}_proj.weight" for name in ("gate", "up", "down")
    }
    assert mx.array_equal(forward(Subject.load(folder, tmp_path / "full").model, TOKENS), expected)
    model, *_ = load(str(folder), adapter_path=str(tmp_path / "full"))
    assert mx.array_equal(forward(model, TOKENS), expected)


@contextmanager
def full_disk(size: int) -> Iterator[None]:
    """No file may grow beyond `size` bytes, as on a disk that is nearly full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("names", [MLX, NPZ])
def test_a_full_disk_leaves_the_older_files_whole(make_llama, tmp_path, names):
    """A write that fails is an OSError, and the folder holds exactly what it held."""
    subject = Subject.from_model(make_llama())

    def save() -> None:
        if names == MLX:
            save_adapter(subject, tmp_path, base="x")
        else:
            save_lora_weights(subject, tmp_path, {})

    with attached(subject, ["v_proj"], rank=2):
        save()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == set(names)
    with attached(subject, ["v_proj"], rank=8), pytest.raises(OSError), full_disk(2000):  # noqa: PT011 - of any kind
        save()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_what_cannot_be_saved_is_refused(make_llama, folder, tmp_path):
    """Nothing trained, no LoRA, scales that differ, and a folder with a model in it are named."""
    subject = Subject.from_model(make_llama(), name="tiny")
    subject.model.freeze()
    with pytest.raises(ValueError, match="tiny has no LoRA and trains no weights; there is nothing to save"):
        save_adapter(subject, tmp_path / "out", base="x")
    with pytest.raises(
        ValueError, match="tiny has no LoRA to save; a full fine-tune is written by save_adapter"
    ):
        save_lora_weights(subject, tmp_path / "out", {})
    attach(subject, ["v_proj"], rank=2)
    with pytest.raises(ValueError, match=r"holds a model, whose config\.json would be lost"):
        save_lora_weights(subject, folder, {})
    attach(subject, ["o_proj"], rank=2, scale=3.0)
    for save in (
        lambda: save_adapter(subject, tmp_path / "out", base="x"),
        lambda: save_lora_weights(subject, tmp_path, {}),
    ):
        with pytest.raises(ValueError, match=r"of several scales \(\[2.0, 3.0\]\)"):
            save()
    assert not (tmp_path / "out").exists()


def test_lora_of_another_kind_is_not_lost_in_silence(make_llama, tmp_path):
    """LoRA on an embedding, which mlx-lm can load and this cannot write, is named."""
    from mlx_lm.tuner.lora import LoRAEmbedding

    subject = Subject.from_model(make_llama())
    subject.model.model.embed_tokens = LoRAEmbedding.from_base(subject.model.model.embed_tokens, r=2)
    with pytest.raises(ValueError, match=r"model.embed_tokens is a LoRAEmbedding, which cannot be saved"):
        save_adapter(subject, tmp_path, base="x")


def test_lora_on_lora_is_not_saved(grouped, tmp_path):
    """No format holds two updates of one projection: the first is to be merged."""
    with (
        attached(grouped, ["v_proj"], rank=2),
        attached(grouped, ["v_proj"], rank=2),
        pytest.raises(ValueError, match=r"layer 0 self_attn\.v_proj has LoRA on LoRA; merge the first"),
    ):
        save_adapter(grouped, tmp_path, base="x")


def test_saving_changes_nothing(grouped, tmp_path):
    """The model that was saved is the same one afterwards."""
    with attached(grouped, ["v_proj"], rank=2):
        train(grouped)
        before = grouped.fingerprint
        save_adapter(grouped, tmp_path, base="x")
        save_lora_weights(grouped, tmp_path, {})
        assert grouped.fingerprint == before
        assert isinstance(grouped.model.layers[0].self_attn.v_proj.linear, nn.Linear)
