"""LoRA on every architecture that mlx-lm has and hooks support."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.adapters.adapter import load_adapter
from lazarus_probe.anatomy.projections import projections
from lazarus_probe.subject import Subject, UnsupportedArchitecture, forward
from lazarus_probe.training.lora.adapter import save_adapter, save_lora_weights
from lazarus_probe.training.lora.lora import attach, attached
from tests.architectures.zoo import architectures, build, config, random_tokens

# Why LoRA cannot be put on: the anatomy is refused, or mlx cannot train what the file builds.
REFUSED = {
    "iquestloopcoder": "runs none of its",
    "nanbeige": "runs 2 times in one forward pass",
    "recurrent_gemma": "recurrent_gemma cannot be trained",
}
NO_GRADIENT = {"deepseek_v41": "with respect to indices"}  # mlx has none through its choice of positions
# Projections whose weight the model file reads itself.
NOT_TRAINED = {"correction_coefs", "prediction_coefs"}
ALWAYS = ("llama", "phi3", "mixtral", "llama_4bit", "mamba2", "gpt_oss_4bit")


def marked() -> list[Any]:
    return [pytest.param(name, marks=[] if name in ALWAYS else pytest.mark.slow) for name in architectures()]


def fresh(name: str) -> Subject:
    return Subject.from_model(build.__wrapped__(name), name=name, config=config(name))


def paths(subject: Subject) -> list[str]:
    """Every linear layer, by its path in its block."""
    found = {place.path for place in projections(subject.anatomy)}
    return sorted(path for path in found if path.rpartition(".")[2] not in NOT_TRAINED)


def square(model: nn.Module, tokens: mx.array) -> mx.array:
    return mx.square(forward(model, tokens).astype(mx.float32)).mean()


@pytest.mark.parametrize("name", marked())
def test_lora_goes_on_trains_and_comes_off(name):
    """On every linear layer: nothing changes at first, gradients reach `lora_b`, and it comes off bit for bit."""
    if name in REFUSED:
        with pytest.raises((UnsupportedArchitecture, ValueError), match=REFUSED[name]):
            attach(fresh(name), ["down_proj"])
        return
    subject, tokens = fresh(name), random_tokens(2, 6, 1)
    plain, modules = forward(subject.model, tokens), [type(m) for _, m in subject.model.named_modules()]
    with attached(subject, paths(subject), rank=2) as model:
        assert mx.array_equal(forward(model, tokens), plain)
        gradient = nn.value_and_grad(model, square)
        if name in NO_GRADIENT:
            with pytest.raises(ValueError, match=NO_GRADIENT[name]):
                gradient(model, tokens)
        else:
            _, found = gradient(model, tokens)
            sizes = [
                mx.abs(value).max().item() for key, value in tree_flatten(found) if key.endswith("lora_b")
            ]
            # Some layers are not run in a text as short, or only choose: most must be reached.
            assert sum(size > 0 for size in sizes) > len(sizes) / 2
    assert mx.array_equal(forward(subject.model, tokens), plain)
    assert [type(module) for _, module in subject.model.named_modules()] == modules


@pytest.mark.parametrize("name", [case for case in marked() if case.values[0] not in REFUSED])
def test_an_adapter_comes_back_bit_for_bit(name, tmp_path):
    """On one linear layer of a middle block, both formats and mlx-lm's own loader give the logits that were saved."""
    from mlx_lm.tuner.utils import load_adapters

    subject, tokens = fresh(name), random_tokens(2, 6, 1)
    layers = [subject.num_layers // 2]
    place = projections(subject.anatomy, layers)[-1]
    with attached(subject, [place.path], rank=2, layers=layers) as model:
        layer = place.module
        layer.lora_b = mx.random.normal(layer.lora_b.shape, key=mx.random.key(5))
        expected = forward(model, tokens)
        save_adapter(subject, tmp_path / "mlx", base=name)
        save_lora_weights(subject, tmp_path / "npz", {})
    for kind in ("mlx", "npz"):
        loaded = fresh(name)
        load_adapter(loaded, Path(tmp_path / kind))
        assert mx.array_equal(forward(loaded.model, tokens), expected)
    theirs = build.__wrapped__(name)
    load_adapters(theirs, str(tmp_path / "mlx"))
    theirs.eval()
    assert mx.array_equal(forward(theirs, tokens), expected)
