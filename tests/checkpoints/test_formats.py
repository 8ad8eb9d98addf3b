"""What was given as a model and is none: each format is named, and the message says what to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lazarus_probe.checkpoints.formats import FORMATS, GGUF
from lazarus_probe.cli import lazarus
from lazarus_probe.subject import LoadError, Subject, num_layers_of

# By file: how it begins, the format that it is said to have, and what is said of that.
FILES = {
    "weights.h5": (b"\x89HDF\r\n\x1a\n", r"a file of Keras \(HDF5\)", "only safetensors are read"),
    "model.keras": (b"PK\x03\x04", r"a file of Keras \(HDF5\)", "only safetensors are read"),
    "model.pt": (b"PK\x03\x04", "a pickle of PyTorch", "a pickle may hold code and is never read"),
    "weights.pkl": (b"\x80\x02", "a pickle of PyTorch", "a pickle may hold code"),
    "model.onnx": (b"\x08\x07", "an ONNX graph", "only a checkpoint in safetensors is loaded"),
    "flax_model.msgpack": (b"\x82", "weights of Flax", "only safetensors"),
    "saved_model.pb": (b"\x08", "a graph of TensorFlow", "only a checkpoint in safetensors"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_named_by_its_format(tmp_path, name):
    """Each is known by its first bytes, else by its name."""
    start, kind, advice = FILES[name]
    (tmp_path / name).write_bytes(start)
    for ask in (Subject.load, num_layers_of):
        with pytest.raises(LoadError, match=f"{name} is {kind}; {advice}"):
            ask(tmp_path / name)


@pytest.mark.parametrize("name", FILES)
def test_a_folder_is_named_by_what_it_has_for_weights(tmp_path, name):
    """A folder with a configuration and weights of another format says which file that is, and its format."""
    start, kind, advice = FILES[name]
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    (tmp_path / "training_args.bin").write_bytes(b"\x80\x02")
    (tmp_path / name).write_bytes(start)
    with pytest.raises(LoadError, match=f"has its weights in {name}, {kind}; {advice}"):
        Subject.load(tmp_path)


@pytest.mark.parametrize("name", ["model.gguf", "model-without-suffix"])
def test_a_gguf_file_is_given_itself(tmp_path, name):
    """A folder with a GGUF file says to give that, and the file itself is read; this one is cut off."""
    (tmp_path / name).write_bytes(b"GGUF\x03")
    with pytest.raises(LoadError, match=f"has its weights in {name}, a GGUF file; give that file itself"):
        Subject.load(tmp_path)
    for ask in (Subject.load, num_layers_of):
        with pytest.raises(LoadError, match=f"{name} is truncated or damaged: it ends within its version"):
            ask(tmp_path / name)


def test_a_file_of_no_such_format_is_a_file(tmp_path):
    """Weights alone, and any other file, are refused by asking for the folder."""
    for name, message in {
        "a.safetensors": "weights alone; give the folder",
        "a.txt": "is a file; give the",
    }.items():
        (tmp_path / name).write_bytes(b"something")
        with pytest.raises(LoadError, match=message):
            Subject.load(tmp_path / name)


def test_an_exported_folder_is_known_by_its_subfolder(tmp_path):
    """Weights in `onnx/`, as exports keep them, are found."""
    (tmp_path / "onnx").mkdir()
    (tmp_path / "onnx" / "model.onnx").touch()
    with pytest.raises(LoadError, match=r"has its weights in onnx/model\.onnx, an ONNX graph"):
        Subject.load(tmp_path)


ADAPTERS = {
    "adapter_model.safetensors": r"is an adapter \(peft\) of org/base, no model: give org/base as the model",
    "adapter_model.bin": r"is an adapter \(peft\) of org/base",
    "adapters.safetensors": r"is an adapter \(mlx-lm\) of org/base",
    "lora_weights.npz": r"is an adapter \(lora_weights\.npz\) of org/base",
    "nothing": "is an adapter of org/base",
}


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_given_as_a_model_is_said_to_be_one(tmp_path, capsys, name):
    """Its base is named, and that the folder goes to --adapter; the command says the same in one line."""
    settings = {"base_model_name_or_path": "org/base"} if "peft" in ADAPTERS[name] else {"model": "org/base"}
    config = "config.json" if name == "lora_weights.npz" else "adapter_config.json"
    (tmp_path / config).write_text(json.dumps(settings))
    if name != "nothing":
        (tmp_path / name).touch()
    with pytest.raises(LoadError, match=ADAPTERS[name]):
        Subject.load(tmp_path)
    assert lazarus.main(["introspect", "generate", "-m", str(tmp_path), "-p", "a"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "and this folder as --adapter" in error


def test_a_part_of_the_weights_that_is_missing_is_named_with_its_list(tmp_path, make_llama, save_checkpoint):
    """A sharded checkpoint without a shard says which file lists it."""
    folder = Path(save_checkpoint(tmp_path / "tiny", make_llama()))
    listed = {"weight_map": {"model.norm.weight": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(listed))
    with pytest.raises(
        LoadError, match=r"model-00002-of-00002\.safetensors is missing, which model\.safetensors\.index"
    ):
        Subject.load(folder)


def test_every_format_says_what_to_do():
    """No format without a name for it, a suffix and advice."""
    for form in FORMATS:
        assert form.name.split()[0] in ("a", "an", "weights", "NumPy")
        assert form.suffixes
        assert "safetensors" in form.advice or "save_pretrained" in form.advice or form is GGUF
