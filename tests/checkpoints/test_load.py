"""Loading: what a name stands for, and checkpoints that are not what they seem."""

from __future__ import annotations

import json
import re

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.organisms import bundled
from lazarus_probe.subject import LoadError, Subject, forward, num_layers_of

TOKENS = mx.array([[3, 5, 7, 11, 13, 2, 4, 6, 8, 10]])
LLAMA3 = {
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


@pytest.fixture
def folder(tmp_path, make_llama, save_checkpoint):
    return save_checkpoint(tmp_path / "tiny", make_llama(num_key_value_heads=2))


def rewrite(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


def test_a_folder_loads_as_what_was_saved(folder, make_llama):
    """Logits, name, tokenizer and number of layers survive the way through a folder."""
    subject = Subject.load(folder)
    expected = forward(make_llama(num_key_value_heads=2), TOKENS)
    assert mx.array_equal(forward(subject.model, TOKENS), expected)
    assert (subject.name, subject.path, subject.num_layers) == ("tiny", folder, 4)
    assert subject.decode(subject.encode("a cat")) == "<bos>a cat"
    assert num_layers_of(folder) == 4
    assert subject.fingerprint == Subject.load(str(folder)).fingerprint


@pytest.mark.parametrize(
    "scaling", [None, {"rope_type": "llama3", **LLAMA3}, {"rope_type": "linear", "factor": 4.0}]
)
def test_nested_rope_parameters_are_honoured(folder, scaling):
    """A configuration that nests its rope settings gives the logits of one with the older keys."""
    rewrite(folder, rope_theta=500.0, rope_scaling=scaling)
    legacy = forward(Subject.load(folder).model, TOKENS)
    nested = {"rope_theta": 500.0, **(scaling or {"rope_type": "default"})}
    rewrite(folder, rope_theta=None, rope_scaling=None, rope_parameters=nested)
    assert mx.array_equal(forward(Subject.load(folder).model, TOKENS), legacy)
    rewrite(folder, rope_parameters=None)
    assert not np.allclose(np.array(forward(Subject.load(folder).model, TOKENS)), np.array(legacy), atol=1e-3)


@pytest.mark.skipif(mx.default_device() != mx.cpu, reason="16-bit weights are kept where they are fast")
def test_16_bit_weights_are_float32_on_the_cpu(tmp_path, make_llama, save_checkpoint):
    """On the CPU every 16-bit weight is cast, and its value is kept."""
    model = make_llama()
    model.set_dtype(mx.bfloat16)
    loaded = Subject.load(save_checkpoint(tmp_path, model)).model
    saved = dict(tree_flatten(model.parameters()))
    for name, weight in tree_flatten(loaded.parameters()):
        assert weight.dtype == mx.float32
        assert mx.array_equal(weight, saved[name].astype(mx.float32))


def test_an_adapter_is_put_on(folder, tmp_path):
    """A LoRA adapter changes the logits as adding its product to the weight does."""
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    config = {
        "num_layers": 4,
        "lora_parameters": {"rank": 2, "scale": 2.0, "dropout": 0.0, "keys": ["self_attn.o_proj"]},
    }
    (adapter / "adapter_config.json").write_text(json.dumps(config))
    mx.random.seed(0)
    pairs = {layer: (mx.random.normal((32, 2)), mx.random.normal((2, 32))) for layer in range(4)}
    arrays = {
        f"model.layers.{layer}.self_attn.o_proj.lora_{letter}": matrix
        for layer, pair in pairs.items()
        for letter, matrix in zip("ab", pair, strict=True)
    }
    mx.save_safetensors(str(adapter / "adapters.safetensors"), arrays)
    adapted, plain = Subject.load(folder, adapter=adapter), Subject.load(folder)
    for layer, (a, b) in pairs.items():
        projection = plain.anatomy.part("o_proj", layer)
        projection.weight = projection.weight + 2.0 * (a @ b).T
    found, expected = (np.array(forward(subject.model, TOKENS)) for subject in (adapted, plain))
    assert np.allclose(found, expected, atol=1e-3)
    assert adapted.name == "tiny+adapter"
    assert adapted.fingerprint != Subject.load(folder).fingerprint


@pytest.mark.parametrize("missing", ["adapters.safetensors", "adapter_config.json"])
def test_an_adapter_without_its_files_is_refused(folder, tmp_path, missing):
    """A folder that is no adapter is an error that names the missing file."""
    for name in {"adapters.safetensors", "adapter_config.json"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(LoadError, match=f"is not an adapter: {missing} is missing"):
        Subject.load(folder, adapter=tmp_path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def cut_short(path):
    path.write_bytes(path.read_bytes()[:20])


def scramble(path):
    path.write_bytes((8).to_bytes(8, "little") + b"not json" + b"0" * 100)


DAMAGES = {
    "no config": (
        lambda folder: (folder / "config.json").unlink(),
        "is not a checkpoint: config.json is missing",
    ),
    "broken config": (
        lambda folder: (folder / "config.json").write_text("{,"),
        "config.json cannot be read: Expecting",
    ),
    "no model type": (lambda folder: rewrite(folder, model_type=None), "config.json names no model_type"),
    "odd model type": (
        lambda folder: rewrite(folder, model_type="zzz"),
        "cannot be built: mlx-lm has no model_type 'zzz'",
    ),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "model.safetensors is missing"),
    "torch weights": (
        lambda folder: (folder / "model.safetensors").rename(folder / "pytorch_model.bin"),
        r"has its weights in pytorch_model\.bin, a pickle of PyTorch; .* never read: load it with",
    ),
    "no tokenizer": (
        lambda folder: [path.unlink() for path in folder.glob("tokenizer*")],
        "is not a checkpoint: tokenizer.json is missing",
    ),
    "broken tokenizer": (
        lambda folder: (folder / "tokenizer.json").write_text("{,"),
        r"tokenizer\.json cannot be read: Expecting",
    ),
    "truncated": (
        lambda folder: cut(folder / "model.safetensors"),
        "model.safetensors is truncated or damaged: it has",
    ),
    "truncated header": (
        lambda folder: cut_short(folder / "model.safetensors"),
        "model.safetensors is truncated",
    ),
    "damaged": (
        lambda folder: scramble(folder / "model.safetensors"),
        "model.safetensors is damaged: its header",
    ),
    "missing shard": (
        lambda folder: (folder / "model.safetensors.index.json").write_text(
            json.dumps({"weight_map": {"a": "model-00001-of-00002.safetensors"}})
        ),
        "model-00001-of-00002.safetensors is missing",
    ),
    "other shapes": (lambda folder: rewrite(folder, intermediate_size=40), "by config.json it would be"),
    "more layers": (
        lambda folder: rewrite(folder, num_hidden_layers=5, layer_types=None),
        "cannot be built: the weights lack 9 that config.json asks for",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_refused_in_one_line(folder, damage):
    """Whatever is missing or broken in a folder, the error is one line that says what."""
    action, message = DAMAGES[damage]
    action(folder)
    with pytest.raises(LoadError, match=message) as raised:
        Subject.load(folder)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", ["organsim", "organism-untraind", "./nowhere", "/no/such/folder"])
@pytest.mark.parametrize("load", [Subject.load, num_layers_of])
def test_an_unknown_name_lists_the_known_ones(name, load):
    """A name that stands for nothing is an error that lists the bundled models."""
    with pytest.raises(LoadError, match=re.escape(f"no model named '{name}'")) as raised:
        load(name)
    for known in bundled.names():
        assert known in str(raised.value)


def test_a_file_is_not_a_checkpoint(folder):
    """The path of the weights themselves is refused by asking for their folder."""
    with pytest.raises(LoadError, match="is a file of weights alone; give the folder"):
        Subject.load(folder / "model.safetensors")


def test_a_hub_id_that_cannot_be_fetched_is_refused(monkeypatch):
    """Without a connection a Hub id is an error in one line that names the bundled models."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(
        LoadError, match=r"nobody/nothing could not be fetched from the Hub \(.*\); bundled are"
    ) as raised:
        Subject.load("nobody/nothing")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("name", bundled.names())
def test_bundled_models_load_by_name(name):
    """Each bundled model loads, knows its layers, and has untrained models by name."""
    subject = Subject.load(name)
    assert subject.name == name
    assert num_layers_of(name) == num_layers_of(f"{name}-untrained-2") == subject.num_layers
    twin = Subject.load(f"{name}-untrained-2")
    assert twin.name == f"{name}-untrained-2"
    assert twin.fingerprint == subject.untrained(2).fingerprint
    with pytest.raises(LoadError, match=f"{name}-untrained takes no adapter"):
        Subject.load(f"{name}-untrained", adapter="somewhere")


def test_a_wrapped_language_model_has_its_own_layers(tmp_path):
    """Where the configuration of the language model is nested, its number of layers is read there."""
    (tmp_path / "config.json").write_text('{"model_type": "gemma3", "text_config": {"num_hidden_layers": 7}}')
    assert num_layers_of(tmp_path) == 7
