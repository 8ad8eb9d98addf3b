"""What mlx-lm computes differently from transformers is what differences.yaml says, and the loader says it too."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="the torch extra is not installed")

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
import yaml  # noqa: E402
from mlx_lm.utils import _get_classes, load_config, load_model  # noqa: E402

from lazarus_probe.checkpoints.checkpoint import load_checkpoint  # noqa: E402
from lazarus_probe.checkpoints.config import translated  # noqa: E402
from lazarus_probe.checkpoints.saved_names import reads_saved_names  # noqa: E402
from lazarus_probe.subject import LoadError, forward  # noqa: E402
from tests.parity.pair import TOKENS, error, quietly, random_model, save  # noqa: E402

ENTRIES = yaml.safe_load(Path(__file__).with_name("differences.yaml").read_text())
NAMES = [f"{entry['family']}: {entry['why']}" for entry in ENTRIES]


def unchecked(folder):
    """The model as mlx-lm builds it, without what the loader would refuse."""
    config = load_config(folder)
    model_class, args_class = _get_classes(config)
    try:
        changes = translated(config, model_class, args_class)
    except LoadError:
        changes = {}
    reading = (reads_saved_names(model_class), args_class)
    return load_model(folder, model_config=changes, get_model_classes=lambda **_: reading)[0]


@pytest.mark.parametrize("entry", ENTRIES, ids=NAMES)
def test_a_known_difference_is_as_large_as_the_table_says(entry, tmp_path):
    """The loader warns of it, or refuses, and the logits differ by the figure, from the position on that is given."""
    reference = random_model(entry["family"], entry["settings"])
    save(reference, tmp_path)
    if entry.get("refused"):
        with pytest.raises(LoadError) as raised:
            load_checkpoint(tmp_path)
        model, lines = unchecked(tmp_path), [str(raised.value)]
    else:
        (model, _), lines = quietly(lambda: load_checkpoint(tmp_path))
    assert [entry["says"] in line for line in lines] == [True]

    found = np.array(forward(model, mx.array(TOKENS)))
    with torch.no_grad():
        expected = reference(torch.tensor(TOKENS), use_cache=False).logits.numpy()
    same, length = entry.get("agrees", 0), len(TOKENS[0])
    assert same == 0 or error(found[:, :same], expected[:, :same]) <= 1e-4
    assert same in (0, length) or error(found[:, : same + 1], expected[:, : same + 1]) > 1e-3
    assert same == length or entry["logits"] / 2 <= error(found, expected) <= entry["logits"] * 2


def test_weights_under_the_names_of_the_release_are_read_alike(tmp_path):
    """GPT-2 as it was released, without the prefix that transformers saves it under, has the same logits."""
    save(random_model("gpt2", {"n_embd": 32, "n_head": 4}), tmp_path)
    expected = forward(quietly(lambda: load_checkpoint(tmp_path))[0][0], mx.array(TOKENS))
    weights = mx.load(str(tmp_path / "model.safetensors"))
    assert all(name.startswith("transformer.") for name in weights)
    released = {name.removeprefix("transformer."): weight for name, weight in weights.items()}
    mx.save_safetensors(str(tmp_path / "model.safetensors"), released)
    assert mx.array_equal(
        forward(quietly(lambda: load_checkpoint(tmp_path))[0][0], mx.array(TOKENS)), expected
    )
