"""A GGUF file is a model as any folder is: its name, controls, adapters and commands."""

from __future__ import annotations

import dataclasses
import json
import warnings
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Type

from lazarus_probe.cli import lazarus
from lazarus_probe.hooks import trace
from lazarus_probe.subject import LoadError, Subject, num_layers_of
from lazarus_probe.subject.control_models import lesioned
from lazarus_probe.training.lora.adapter import save_adapter
from lazarus_probe.training.lora.lora import attach
from tests.checkpoints.gguf.families import FAMILIES
from tests.checkpoints.gguf.test_architectures import TOKENS
from tests.checkpoints.gguf.writing import byte_level, metadata_of, tensors_of, write_file, write_model


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama."""
    family = FAMILIES["llama"]
    return write_model(tmp_path_factory.mktemp("models") / "tiny.gguf", family, family.build())


def test_a_file_is_called_by_its_name(path):
    """Not by where it lies; its layers are known without its weights, and its identity is that of its content."""
    subject = Subject.load(path)
    assert (subject.name, subject.path, subject.num_layers) == ("tiny.gguf", path, 2)
    assert num_layers_of(path) == 2
    assert (subject.context_length, subject.dtype) == (256, "float32")
    assert subject.fingerprint == Subject.load(str(path)).fingerprint
    assert subject.encode("AB") == [63]


def test_controls_are_of_the_same_architecture(path):
    """An untrained model has other weights of the same shapes, and a lesioned one the embedding of the file."""
    subject = Subject.load(path)
    untrained, lesion = subject.untrained(3), lesioned(subject, "new_blocks", 3)
    assert untrained.fingerprint != subject.fingerprint
    assert untrained.anatomy.num_layers == 2
    own, kept = (np.array(each.model.model.embed_tokens.weight) for each in (subject, lesion))
    np.testing.assert_array_equal(own, kept)


def test_controls_are_tied_where_the_model_is(tmp_path):
    """A lesioned Gemma 3 reads its tokens off with the embeddings that it was trained with."""
    family = FAMILIES["gemma3"]
    subject = Subject.load(write_model(tmp_path / "a.gguf", family, family.build()))
    lesion = lesioned(subject, "new_blocks", 1)
    assert "lm_head" not in lesion.model
    state = mx.ones((1, 1, 64))
    own, kept = (each.model.model.embed_tokens.as_linear(state) for each in (subject, lesion))
    np.testing.assert_array_equal(np.array(own), np.array(kept))


def test_an_adapter_goes_on_a_file(path, tmp_path):
    """LoRA that was saved of a model in a file changes that model when it is loaded."""
    subject = Subject.load(path)
    before = np.array(subject.model(mx.array(TOKENS)))
    attach(subject, ["q_proj", "down_proj"], rank=2)
    for _, module in subject.model.named_modules():
        if "lora_b" in module:
            module.lora_b = mx.random.normal(module.lora_b.shape)
    changed = np.array(subject.model(mx.array(TOKENS)))
    save_adapter(subject, tmp_path, base=str(path))
    again = Subject.load(path, adapter=tmp_path)
    assert np.abs(changed - before).max() > 1e-2
    np.testing.assert_allclose(np.array(again.model(mx.array(TOKENS))), changed, atol=1e-5)


def test_commands_take_a_file(path, capsys):
    """As they take a folder."""
    assert (
        lazarus.main(["introspect", "generate", "-m", str(path), "-p", "AB", "--raw", "--max-tokens", "2"])
        == 0
    )
    assert lazarus.main(["anatomy", "-m", str(path), "--json"]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown[shown.index("{") :])["model"] == "tiny.gguf"


FAULTS: dict[str, tuple[dict[str, Any], list[str], str]] = {
    "architecture": ({"general.architecture": "falcon"}, [], "general.architecture is 'falcon', which is not loaded"),
    "adapter": ({"general.type": "adapter"}, [], "general.type is 'adapter'; a model is needed"),
    "no layers": ({"llama.block_count": None}, [], "llama.block_count is missing; a whole number of at least 1"),
    "many layers": ({"llama.block_count": 10**9}, [], "llama.block_count is 1000000000, and the file has 21 tensors"),
    "width": ({"llama.embedding_length": 65}, [], "llama.embedding_length is 65, and the tensor token_embd.weight"),
    "heads": ({"llama.attention.head_count": "4"}, [], "llama.attention.head_count is '4'; a whole number"),
    "norm": ({"llama.attention.layer_norm_rms_epsilon": float("nan")}, [], "layer_norm_rms_epsilon is nan; a finite"),
    "no norm": ({"llama.attention.layer_norm_rms_epsilon": None}, [], "lack what mlx-lm's llama needs: rms_norm_eps"),
    "rope": ({"llama.rope.scaling.type": "zzz"}, [], "llama.rope.scaling.type is 'zzz', which is not loaded"),
    "a tensor": ({}, ["blk.1.ffn_up.weight"], r"lacks tensors that the model needs \(1\): blk.1.ffn_up.weight"),
    "the embedding": ({}, ["token_embd.weight"], "the tensor token_embd.weight is missing"),
    "size": ({"llama.feed_forward_length": 95}, [], r"the tensor blk.0.ffn_\w+.weight is \(\d+, \d+\), and by the set"),
    "sizes by layer": ({"llama.attention.head_count_kv": [2, 1]}, [], "head_count_kv differs between layers"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
def test_what_is_wrong_is_named(tmp_path, fault):
    """File, key or tensor, and what would be right, in one line."""
    changes, dropped, message = FAULTS[fault]
    path = changed_file(tmp_path, changes, dropped)
    with pytest.raises(LoadError, match=message) as error:
        Subject.load(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def changed_file(tmp_path: Path, changes: dict[str, Any], dropped: list[str], extra: Any = ()) -> Path:
    """A tiny Llama with other metadata, without some tensors, and with others."""
    family = FAMILIES["llama"]
    model = family.build()
    tensors = {
        name: (value, Type.F32) for name, value in tensors_of(family, model).items() if name not in dropped
    }
    tensors |= {name: (value, Type.F32) for name, value in dict(extra).items()}
    metadata = {**metadata_of(family, model), **byte_level(), **changes}
    architecture = metadata.pop("general.architecture", "llama")
    metadata = {key: value for key, value in metadata.items() if value is not None}
    return write_file(tmp_path / "changed.gguf", architecture, metadata, tensors)


def test_parts_are_read_with_the_first(tmp_path):
    """A model that was split is that model; without a part, or from another than the first, it is refused."""
    family = FAMILIES["llama"]
    model = family.build()
    tensors = {name: (value, Type.F32) for name, value in tensors_of(family, model).items()}
    halves = [dict(list(tensors.items())[start::2]) for start in range(2)]
    paths = [tmp_path / f"a-0000{number}-of-00002.gguf" for number in (1, 2)]
    write_file(paths[0], "llama", {**metadata_of(family, model), **byte_level(), "split.count": 2}, halves[0])
    with pytest.raises(LoadError, match=r"a-00002-of-00002\.gguf cannot be read"):
        Subject.load(paths[0])
    write_file(paths[1], "llama", {"split.count": 2}, halves[1])
    expected = np.array(model(mx.array(TOKENS)))
    np.testing.assert_allclose(np.array(Subject.load(paths[0]).model(mx.array(TOKENS))), expected, atol=1e-4)
    with pytest.raises(LoadError, match="is one of 2 parts; give the first of them"):
        Subject.load(paths[1])


def test_a_tensor_too_many_is_named(tmp_path):
    """A tensor that the model has no place for is no model of that architecture; encoders of images are let be."""
    ones = np.ones((64, 64), np.float32)
    Subject.load(changed_file(tmp_path, {}, [], {"v.blk.0.attn_q.weight": ones, "mm.0.weight": ones}))
    with pytest.raises(
        LoadError, match=r"has no place for tensors of the file \(1\): blk.0.attn_extra.weight"
    ):
        Subject.load(changed_file(tmp_path, {}, [], {"blk.0.attn_extra.weight": ones}))


def test_weights_that_are_not_finite_are_refused(tmp_path):
    """Named with the file they are in, as those of a folder are."""
    bad = np.full((64,), np.nan, np.float32)
    path = changed_file(tmp_path, {}, ["output_norm.weight"], {"output_norm.weight": bad})
    with pytest.raises(ValueError, match=r"model\.norm\.weight in .*changed\.gguf holds 64 of 64 numbers"):
        trace(Subject.load(path), "AB")


def llama3_factors(
    dims: int, base: float, factor: float, low: float, high: float, original: int
) -> np.ndarray:
    """What llama.cpp's converter writes (`rope_freqs`): the published formula, one frequency after another."""
    factors = []
    for index in range(dims // 2):
        wavelength = 2 * np.pi * base ** (2 * index / dims)
        if wavelength < original / high:
            factors.append(1.0)
        elif wavelength > original / low:
            factors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            factors.append(1 / ((1 - smooth) / factor + smooth))
    return np.array(factors, np.float32)


@pytest.mark.parametrize(
    "scaling", [(8.0, 1.0, 4.0, 8192), (32.0, 1.0, 4.0, 64), (4.0, 2.0, 3.0, 100), (8.0, 1.0, 1.1, 50)]
)
@pytest.mark.parametrize("base", [5000.0, 500.0])
def test_scaling_of_llama_3(tmp_path, scaling, base):
    """The logits at long distances are those of the model with that scaling, of which the file has only the factors."""
    factor, low, high, original = scaling
    named = {"factor": factor, "low_freq_factor": low, "high_freq_factor": high}
    rope = {"rope_type": "llama3", "original_max_position_embeddings": original, **named}
    family = dataclasses.replace(
        FAMILIES["llama"],
        arguments={"rope_scaling": rope, "rope_theta": base},
        settings={"rope.freq_base": base},
    )
    model = family.build()
    factors = llama3_factors(16, base, *scaling)
    path = write_model(tmp_path / "a.gguf", family, model, extra={"rope_freqs.weight": factors})
    tokens = mx.array([[token % 64 for token in range(0, 700, 7)]])
    expected = np.array(model(tokens))
    np.testing.assert_allclose(np.array(Subject.load(path).model(tokens)), expected, atol=2e-3)


def test_long_factors_of_phi_3(tmp_path):
    """Phi-3's factors for long texts, which mlx-lm uses for all of them."""
    long = [1.0 + index / 2 for index in range(8)]
    rope = {"type": "longrope", "rope_type": "longrope", "long_factor": long, "short_factor": long}
    family = dataclasses.replace(
        FAMILIES["phi3"],
        arguments={"rope_scaling": rope, "original_max_position_embeddings": 64},
        settings={"rope.scaling.original_context_length": 64},
    )
    model = family.build()
    extra = {f"rope_factors_{kind}.weight": np.array(long, np.float32) for kind in ("long", "short")}
    path = write_model(tmp_path / "a.gguf", family, model, extra=extra)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loaded = Subject.load(path)
    expected = np.array(model(mx.array(TOKENS)))
    np.testing.assert_allclose(np.array(loaded.model(mx.array(TOKENS))), expected, atol=1e-4)
