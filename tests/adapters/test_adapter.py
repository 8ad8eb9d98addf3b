"""Reading adapters: what another program wrote, and what cannot be put on a model."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.adapters.adapter import load_adapter, own_weights, weights_key
from lazarus_probe.adapters.adapter_files import check_adapter
from lazarus_probe.subject import LoadError, Subject, forward
from lazarus_probe.training.lora.adapter import save_adapter, save_lora_weights
from lazarus_probe.training.lora.lora import attached
from tests.training.lora.adopted_lora import adopt

TOKENS = mx.array([[3, 5, 7, 11, 13, 2]])


@pytest.fixture
def folder(tmp_path, make_llama, save_checkpoint) -> Path:
    return Path(save_checkpoint(tmp_path / "tiny", make_llama(num_key_value_heads=2)))


@pytest.fixture
def save(folder, tmp_path) -> Callable[..., Path]:
    """Saves an adapter of the checkpoint, in mlx-lm's format, as lora_weights.npz, or both."""

    def save(*formats: str, of: Path = folder, **settings: Any) -> Path:
        subject, out = Subject.load(of), tmp_path / "trained"
        with attached(subject, ["v_proj", "o_proj"], **{"rank": 2, **settings}) as model:
            for name, value in tree_flatten(model.trainable_parameters()):
                if name.endswith("lora_b"):
                    model.load_weights(
                        [(name, mx.random.normal(value.shape, key=mx.random.key(7)))], strict=False
                    )
            if "mlx" in formats:
                save_adapter(subject, out, base="tiny")
            if "npz" in formats:
                save_lora_weights(subject, out, {})
        return out

    return save


def rewrite(path: Path, **changes: Any) -> None:
    settings = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in settings.items() if value is not None}))


def rewrite_parameters(path: Path, **changes: Any) -> None:
    parameters = json.loads(path.read_text())["lora_parameters"]
    rewrite(path, lora_parameters={**parameters, **changes})


def arrays(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / "lora_weights.npz") as file:
        return {key: file[key] for key in file.files}


def rewrite_npz(folder: Path, **changes: Any) -> None:
    kept = {key: value for key, value in {**arrays(folder), **changes}.items() if value is not None}
    np.savez(folder / "lora_weights.npz", **kept)


def rewrite_mlx(folder: Path, **changes: Any) -> None:
    path = str(folder / "adapters.safetensors")
    kept = {key: value for key, value in {**mx.load(path), **changes}.items() if value is not None}
    mx.save_safetensors(path, kept)


def test_a_file_of_the_documented_form_is_read(folder, tmp_path):
    """Matrices that NumPy wrote, with a configuration of the published keys, change the weights by 2 A B."""
    out, rng = tmp_path / "by_hand", np.random.default_rng(0)
    out.mkdir()
    pairs = {"v": (32, 16), "o": (32, 32)}
    made = {
        f"layer_{layer}_{name}_{matrix}": rng.normal(size=shape).astype(np.float32)
        for layer in range(4)
        for name, (inputs, outputs) in pairs.items()
        for matrix, shape in {"A": (inputs, 2), "B": (2, outputs)}.items()
    }
    np.savez(out / "lora_weights.npz", **made)
    published = {"model": "org/name", "classifier_layer": 2, "lora_rank": 2, "cls_weight": 0.4, "steps": 500}
    (out / "config.json").write_text(json.dumps(published))
    adapted, plain = Subject.load(folder, out), Subject.load(folder)
    for layer in range(4):
        for name in pairs:
            linear = plain.model.layers[layer].self_attn[f"{name}_proj"]
            product = made[f"layer_{layer}_{name}_A"] @ made[f"layer_{layer}_{name}_B"]
            linear.weight = linear.weight + mx.array(2.0 * product.T)
    found, expected = (np.array(forward(subject.model, TOKENS)) for subject in (adapted, plain))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert adapted.name == "tiny+by_hand"


def test_what_mlx_lm_trains_is_read(folder, tmp_path):
    """An adapter that mlx-lm itself made and saved, LoRA or DoRA, gives here the logits it gives there."""
    from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters

    for kind in ("lora", "dora"):
        model, out = Subject.load(folder).model, tmp_path / kind
        out.mkdir()
        model.freeze()
        parameters = {"rank": 2, "scale": 3.0, "dropout": 0.0}
        linear_to_lora_layers(model, 2, parameters, use_dora=kind == "dora")
        weights = dict(tree_flatten(model.trainable_parameters()))
        moved = {name: value + 0.1 for name, value in weights.items()}
        mx.save_safetensors(str(out / "adapters.safetensors"), moved)
        config = {"fine_tune_type": kind, "num_layers": 2, "lora_parameters": parameters, "model": "tiny"}
        (out / "adapter_config.json").write_text(json.dumps(config))
        theirs = Subject.load(folder).model
        load_adapters(theirs, str(out))
        expected = forward(theirs, TOKENS)
        assert mx.array_equal(forward(Subject.load(folder, out).model, TOKENS), expected)
        assert not mx.array_equal(forward(Subject.load(folder).model, TOKENS), expected)


def test_two_formats_that_agree_are_one_adapter(folder, save):
    """A folder with both formats loads as either does."""
    both = save("mlx", "npz")
    expected = forward(Subject.load(folder, both).model, TOKENS)
    for name in ("adapters.safetensors", "adapter_config.json"):
        (both / name).unlink()
    assert mx.array_equal(forward(Subject.load(folder, both).model, TOKENS), expected)


MLX, SETTINGS = "adapters.safetensors", "adapter_config.json"
TENSOR = "model.layers.1.self_attn.v_proj.lora_a"
# What is done to an adapter of that format, and what is said.
DAMAGES = {
    "truncated": ("mlx", lambda f: (f / MLX).write_bytes((f / MLX).read_bytes()[:-9]), f"{MLX} is truncated"),
    "no JSON": ("mlx", lambda f: (f / SETTINGS).write_text("{,"), f"{SETTINGS} cannot be read: Expecting"),
    "a list": ("mlx", lambda f: (f / SETTINGS).write_text("[]"), f"{SETTINGS} holds no JSON object"),
    "kind": (
        "mlx",
        lambda f: rewrite(f / SETTINGS, fine_tune_type="magic"),
        "fine_tune_type is 'magic'; give one of",
    ),
    "no layers": ("mlx", lambda f: rewrite(f / SETTINGS, num_layers=None), "num_layers is missing"),
    "no scale": (
        "mlx",
        lambda f: rewrite(f / SETTINGS, lora_parameters={"rank": 2, "dropout": 0.0}),
        f"{SETTINGS} cannot be put on the model: .*scale",
    ),
    "no weights": ("mlx", lambda f: mx.save_safetensors(str(f / MLX), {}), f"{MLX} holds no weights"),
    "a tensor more": (
        "mlx",
        lambda f: rewrite_mlx(f, **{"model.layers.9.self_attn.v_proj.lora_a": mx.zeros((32, 2))}),
        f"{MLX}: model.layers.9.self_attn.v_proj.lora_a matches nothing in tiny",
    ),
    "a tensor less": ("mlx", lambda f: rewrite_mlx(f, **{TENSOR: None}), f"{MLX}: {TENSOR} is missing"),
    "a tensor's shape": (
        "mlx",
        lambda f: rewrite_mlx(f, **{TENSOR: mx.zeros((64, 2))}),
        rf"{MLX}: {TENSOR} is \(64, 2\); \(32, 2\) fits tiny",
    ),
    "no zip": (
        "npz",
        lambda f: (f / "lora_weights.npz").write_bytes(b"nothing"),
        "lora_weights.npz is truncated or damaged",
    ),
    "cut": (
        "npz",
        lambda f: (f / "lora_weights.npz").write_bytes((f / "lora_weights.npz").read_bytes()[:500]),
        "lora_weights.npz is truncated or damaged",
    ),
    "flipped": (
        "npz",
        lambda f: (f / "lora_weights.npz").write_bytes(flipped((f / "lora_weights.npz").read_bytes())),
        "lora_weights.npz is damaged: layer_0_.* does not match its checksum",
    ),
    "pickle": (
        "npz",
        lambda f: rewrite_npz(f, layer_0_v_A=np.array([{}], dtype=object)),
        "lora_weights.npz cannot be read: its 'layer_0_v_A' is of type object",
    ),
    "whole numbers": (
        "npz",
        lambda f: rewrite_npz(f, layer_0_v_A=np.zeros((32, 2), dtype=int)),
        "layer_0_v_A holds mlx.core.int64; floating-point numbers are needed",
    ),
    "empty": ("npz", lambda f: np.savez(f / "lora_weights.npz"), "lora_weights.npz holds no matrices"),
    "other key": (
        "npz",
        lambda f: rewrite_npz(f, something=np.zeros(3, np.float32)),
        r"something matches nothing; layer_\{i\}_\{name\}_\{A,B\} of layers 0 to 3 is needed",
    ),
    "another layer": (
        "npz",
        lambda f: rewrite_npz(f, layer_4_v_A=np.zeros((32, 2))),
        "layer_4_v_A matches nothing",
    ),
    "another name": (
        "npz",
        lambda f: rewrite_npz(f, layer_0_w_A=np.zeros((32, 2), np.float32)),
        "layer_0_w_A matches nothing; layer 0 has down, gate, k, o, q, up, v",
    ),
    "no B": ("npz", lambda f: rewrite_npz(f, layer_2_o_B=None), "layer_2_o_B is missing"),
    "a shape": (
        "npz",
        lambda f: rewrite_npz(f, layer_2_v_B=np.zeros((2, 32), np.float32)),
        r"layer_2_v_B is \(2, 32\); \(2, 16\) fits this model",
    ),
    "no axes": (
        "npz",
        lambda f: rewrite_npz(f, layer_2_v_A=np.float32(1)),
        r"layer_2_v_A is \(\); \(32, 0\) fits",
    ),
    "scale": (
        "npz",
        lambda f: rewrite(f / "config.json", scale="2"),
        "config.json: scale is '2'; a finite number is needed",
    ),
    "scale not finite": (
        "npz",
        lambda f: rewrite(f / "config.json", scale=float("nan")),
        "config.json: scale is nan; a finite number is needed",
    ),
    "rank 0": (
        "npz",
        lambda f: rewrite_npz(
            f, layer_2_v_A=np.zeros((32, 0), np.float32), layer_2_v_B=np.zeros((0, 16), np.float32)
        ),
        r"lora_weights.npz: layer_2_v_A is \(32, 0\), of rank 0; a rank of at least 1 is needed",
    ),
    "a matrix not finite": (
        "npz",
        lambda f: rewrite_npz(f, layer_2_v_B=np.full((2, 16), np.inf, np.float32)),
        r"lora_weights.npz: layer_2_v_B holds numbers that are not finite \(NaN or infinite\): 32 of 32",
    ),
    "a tensor not finite": (
        "mlx",
        lambda f: rewrite_mlx(f, **{TENSOR: mx.full((32, 2), float("nan"))}),
        rf"{MLX}: {TENSOR} holds numbers that are not finite \(NaN or infinite\): 64 of 64",
    ),
    "a tensor of whole numbers": (
        "mlx",
        lambda f: rewrite_mlx(f, **{TENSOR: mx.zeros((32, 2), mx.int32)}),
        f"{MLX}: {TENSOR} holds mlx.core.int32; floating-point numbers are needed",
    ),
    **{
        f"{key} {value!r}": (
            "mlx",
            lambda f, key=key, value=value: rewrite_parameters(f / SETTINGS, **{key: value}),
            message,
        )
        for key, value, message in (
            ("scale", "20", f"{SETTINGS}: scale is '20'; a finite number is needed"),
            ("scale", float("nan"), f"{SETTINGS}: scale is nan; a finite number is needed"),
            ("scale", True, f"{SETTINGS}: scale is True; a finite number is needed"),
            ("rank", 0, f"{SETTINGS}: rank is 0; a whole number of at least 1 is needed"),
            ("rank", "2", f"{SETTINGS}: rank is '2'; a whole number of at least 1 is needed"),
            ("dropout", 1.0, f"{SETTINGS}: dropout is 1.0; a share"),
            ("keys", "v_proj", f"{SETTINGS}: keys is 'v_proj'; a list of the names"),
        )
    },
    "layers as text": (
        "mlx",
        lambda f: rewrite(f / SETTINGS, num_layers="4"),
        f"{SETTINGS}: num_layers is '4'; a whole number is needed",
    ),
    "parameters no object": (
        "mlx",
        lambda f: rewrite(f / SETTINGS, lora_parameters=[2]),
        rf"{SETTINGS}: lora_parameters is \[2\]; rank, scale and dropout are needed",
    ),
    "no config": ("npz", lambda f: (f / "config.json").unlink(), "is not an adapter: config.json is missing"),
    "disagreement": (
        "both",
        lambda f: rewrite_npz(f, layer_3_v_B=np.ones((2, 16), np.float32)),
        "layer_3_v of lora_weights.npz is not what adapters.safetensors holds",
    ),
    "less in one": (
        "both",
        lambda f: rewrite_npz(f, layer_3_v_A=None, layer_3_v_B=None),
        "adapters.safetensors has more than lora_weights.npz",
    ),
}


def flipped(data: bytes) -> bytes:
    """One bit of the first matrix turned over: its bytes begin after the header of 128 and that of the file."""
    return data[:250] + bytes([data[250] ^ 1]) + data[251:]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_adapter_is_refused_in_one_line(folder, save, damage):
    """Whatever is missing or broken, the error is one line that names the file, and the tensor if it is one."""
    kind, action, message = DAMAGES[damage]
    adapter = save(*(("mlx", "npz") if kind == "both" else (kind,)))
    action(adapter)
    with pytest.raises(LoadError, match=message) as raised:
        Subject.load(folder, adapter)
    assert "\n" not in str(raised.value)
    assert str(adapter) in str(raised.value)


def test_a_pickle_is_never_run(folder, tmp_path):
    """A file that would run code when unpickled is refused without that."""
    out, proof = tmp_path / "evil", tmp_path / "proof"
    out.mkdir()

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (Path.touch, (proof,))

    (out / "config.json").write_text("{}")
    (out / "lora_weights.npz").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(LoadError, match=r"lora_weights\.npz is truncated or damaged"):
        Subject.load(folder, out)
    np.savez(out / "lora_weights.npz", layer_0_v_A=np.array([Evil()], dtype=object))
    with pytest.raises(LoadError, match="its 'layer_0_v_A' is of type object"):
        Subject.load(folder, out)
    assert not proof.exists()


@pytest.mark.parametrize("where", ["nowhere", "empty"])
def test_a_folder_without_an_adapter_is_refused(folder, tmp_path, where):
    """No folder, and one with nothing in it, are said to be no adapter."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(LoadError, match="is not an adapter: "):
        Subject.load(folder, tmp_path / where)


OTHERS = {
    "width": ({"hidden_size": 64, "num_key_value_heads": 2}, "whose hidden_size is 64; that of tiny is 32"),
    "depth": ({"num_hidden_layers": 6, "num_key_value_heads": 2}, "whose num_layers is 6; that of tiny is 4"),
    "weights": (
        {"seed": 1, "num_key_value_heads": 2},
        "was trained on other weights .* than those of tiny; load that",
    ),
}


@pytest.mark.parametrize("kind", ["mlx", "npz"])
@pytest.mark.parametrize("other", OTHERS)
def test_an_adapter_of_another_model_is_refused(
    folder, tmp_path, make_llama, save_checkpoint, save, other, kind
):
    """A model of another width or depth, and one of the same sizes with other weights, is named as the reason."""
    changes, message = OTHERS[other]
    adapter = save(kind, of=save_checkpoint(tmp_path / "other", make_llama(**changes)))
    with pytest.raises(LoadError, match=message):
        Subject.load(folder, adapter)


@pytest.mark.parametrize("kind", ["mlx", "npz"])
def test_without_a_record_whatever_fits_is_loaded(folder, tmp_path, make_llama, save_checkpoint, save, kind):
    """An adapter that does not say what it was trained on is put on any model of its shapes, and on no other."""
    others = {"fits": {"seed": 1, "num_key_value_heads": 2}, "not": {"num_key_value_heads": 4}}
    for name, changes in others.items():
        adapter = save(kind, of=save_checkpoint(tmp_path / name, make_llama(**changes)))
        rewrite(adapter / {"mlx": SETTINGS, "npz": "config.json"}[kind], base=None)
        if name == "fits":
            assert Subject.load(folder, adapter).name == "tiny+trained"
            continue
        with pytest.raises(LoadError, match=r"\(2, 32\); \(2, 16\) fits"):
            Subject.load(folder, adapter)


def test_an_adapter_of_merged_weights_is_refused_on_the_unmerged(
    folder, save, tmp_path, make_llama, save_checkpoint
):
    """What was trained on top of merged LoRA is no adapter of the model without it."""
    subject = Subject.load(folder, save("npz"))
    adopt(subject).merge()
    with attached(subject, ["v_proj"], rank=2):
        save_adapter(subject, tmp_path / "second", base="tiny")
    with pytest.raises(LoadError, match="was trained on other weights"):
        Subject.load(folder, tmp_path / "second")


def test_weights_are_told_apart_under_adapters_and_casts(make_llama):
    """The key of a model's weights is that of the model without LoRA and of its 16-bit self cast, and no other's."""
    subject = Subject.from_model(make_llama())
    subject.model.set_dtype(mx.bfloat16)
    key = weights_key(subject.model)
    with attached(subject, ["v_proj", "down_proj"], rank=2):
        assert weights_key(subject.model) == key
        with attached(subject, ["v_proj"], rank=3):
            assert weights_key(subject.model) == key
        adapted = own_weights(subject.model).keys()
    assert adapted == own_weights(subject.model).keys()
    subject.model.set_dtype(mx.float32)
    assert weights_key(subject.model) == key
    assert weights_key(make_llama(seed=1)) != key


def test_a_second_adapter_is_refused(folder, save):
    """One adapter is on a model at a time."""
    adapter = save("npz")
    subject = Subject.load(folder, adapter)
    with pytest.raises(LoadError, match="has LoRA already; merge it, or take it off"):
        load_adapter(subject, adapter)


def test_loading_draws_no_random_numbers(folder, save):
    """The global random state is what it was."""
    adapter, subject = save("mlx"), Subject.load(folder)
    before = mx.random.state[0].tolist()
    load_adapter(subject, adapter)
    assert mx.random.state[0].tolist() == before


def test_the_check_needs_no_model(save):
    """A whole adapter passes the look at its files alone."""
    check_adapter(save("mlx", "npz"))
