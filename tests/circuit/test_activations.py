"""Collected activations read back: what does not fit is refused in one line."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lazarus_probe.circuit.activations import read_activations
from lazarus_probe.circuit.collect import collect_residuals, decision_layers
from lazarus_probe.circuit.dataset import PromptSet
from lazarus_probe.hooks.trace import trace
from lazarus_probe.subject import Subject

ABOUT: dict[str, Any] = {"model_id": "m", "hidden_size": 4, "num_layers": 2, "prompts": ["a", "b"]}
HIDDEN = {"hidden_states.layer_0": np.ones((2, 4), np.float32)}


def written(folder: Path, tensors: dict[str, Any] | None = None, **about: Any) -> Path:
    save_file(HIDDEN if tensors is None else tensors, folder / "a.safetensors")
    (folder / "a.json").write_text(json.dumps({**ABOUT, **about}))
    return folder / "a.safetensors"


def test_round_trip(grouped: Subject, tmp_path: Path):
    """What `collect_residuals` wrote is read back, and is what the model computes."""
    texts = ("Paris is", "7 + 12 =", "abc")
    prompts = PromptSet(
        texts, (1, 0, None), ("x", None, "y"), groups=("g", "h", "g"), name="n", names={"1": "one"}
    )
    collect_residuals(grouped, prompts, tmp_path / "a.safetensors", [1, 3], attention=True, generate=2)
    found = read_activations(tmp_path / "a")
    assert found.layers == [1, 3]
    assert (found.prompts.labels, found.prompts.groups) == (prompts.labels, prompts.groups)
    assert found.prompts.called(1) == "one"
    assert len(found.outputs) == 3
    for row, text in enumerate(texts):
        seen = trace(grouped, text, ["resid_post.3", "attn_out.3", "mlp_out.3", "pattern.3"])
        tokens = len(found.tokens[row])
        assert "".join(found.tokens[row]).endswith(text)
        for values, site in (
            (found.hidden, "resid_post"),
            (found.attention, "attn_out"),
            (found.mlp, "mlp_out"),
        ):
            np.testing.assert_allclose(values[3][row], np.array(seen[f"{site}.3"])[0, -1], atol=1e-5)
        pattern = np.array(seen["pattern.3"])[0, :, -1]
        np.testing.assert_allclose(found.patterns[3][row][:, :tokens], pattern, atol=1e-5)
        assert not found.patterns[3][row][:, tokens:].any()


def test_mean_has_no_pattern(grouped: Subject, tmp_path: Path):
    """A mean over positions has no attention pattern, and nothing is left behind."""
    with pytest.raises(ValueError, match="one position"):
        collect_residuals(
            grouped, PromptSet(("a",), (0,), (None,)), tmp_path / "a", [0], "mean", attention=True
        )
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("depth", "layers"), [(1, [0]), (4, [2, 3]), (8, [4, 5, 6]), (16, list(range(8, 13)))]
)
def test_decision_layers(depth: int, layers: list[int]):
    """From half of the depth to three quarters."""
    assert decision_layers(depth) == layers


@pytest.mark.parametrize(
    ("about", "named"),
    [
        ({"hidden_size": "4"}, "hidden_size '4'"),
        ({"hidden_size": 5}, "shape (2, 4); the .json has 2 prompts and width 5"),
        ({"num_layers": 0}, "no layer of a model with 0"),
        ({"prompts": ["a"]}, "shape (2, 4); the .json has 1 prompts"),
        ({"prompts": [1, 2]}, "prompts must be a list of texts"),
        ({"prompts": None}, "prompts must be a list of texts"),
        ({"labels": [1]}, "one entry for each of the 2"),
        ({"labels": [[1], [2]]}, "neither text nor number"),
        ({"labels": [float("nan"), 1]}, "neither text nor number"),
        ({"groups": {"a": 1}}, "one entry for each of the 2"),
        ({"model_outputs": ["x"]}, "model_outputs must be a list of texts"),
        ({"model_id": None}, "model_id None"),
    ],
)
def test_descriptions_that_do_not_fit(tmp_path: Path, about: dict[str, Any], named: str):
    """A description that does not fit the tensors is refused, and says what is wrong."""
    with pytest.raises(ValueError, match=re.escape(named)):
        read_activations(written(tmp_path, **about))


@pytest.mark.parametrize(
    ("tensors", "named"),
    [
        ({"other": np.ones(3, np.float32)}, "has no hidden_states.layer_N"),
        ({"hidden_states.layer_0": np.full((2, 4), np.nan, np.float32)}, "no finite number"),
        ({"hidden_states.layer_0": np.ones((2, 4), np.int32)}, "no finite number"),
        ({"hidden_states.layer_0": np.ones((2, 4, 1), np.float32)}, "has shape (2, 4, 1)"),
        ({"hidden_states.layer_0": np.array(1, np.float32)}, "has shape ()"),
        ({**HIDDEN, "pattern.layer_0": np.ones((2, 4), np.float32)}, "pattern.layer_0 has shape"),
        ({**HIDDEN, "pattern.layer_0": np.ones((2, 1, 4), np.float32)}, "tokens must be a list"),
    ],
)
def test_tensors_that_do_not_fit(tmp_path: Path, tensors: dict[str, Any], named: str):
    """Tensors of another kind or shape are refused."""
    with pytest.raises(ValueError, match=re.escape(named)):
        read_activations(written(tmp_path, tensors))


@pytest.mark.parametrize("spoil", [slice(20), slice(0), slice(9, None), slice(-4)])
def test_damaged(tmp_path: Path, spoil: slice):
    """A damaged file is refused in one line."""
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[spoil])
    with pytest.raises(ValueError, match="no usable safetensors file"):
        read_activations(path)


def test_description_is_no_json(tmp_path: Path):
    """So is a description that is no JSON object; one that is missing is the system's error."""
    path = written(tmp_path)
    for text in ("{", "[]", "[" * 100_000):
        path.with_suffix(".json").write_text(text)
        with pytest.raises(ValueError, match=r"a\.json"):
            read_activations(path)
    path.with_suffix(".json").unlink()
    with pytest.raises(FileNotFoundError):
        read_activations(path)
