"""Tiny random models of every architecture in the installed mlx-lm, made from the configurations in table.yaml."""

from __future__ import annotations

import copy
import importlib
import math
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import lazarus_probe  # noqa: F401 - chooses the BLAS, which must happen before mlx is imported

import mlx.core as mx  # isort: skip
import mlx.nn as nn  # isort: skip
import yaml
from mlx.utils import tree_flatten, tree_unflatten

TABLE = Path(__file__).with_name("table.yaml")
# Parts that model files share; everything else in mlx_lm/models is an architecture.
HELPERS = {
    "__init__",
    "activations",
    "base",
    "bitlinear_layers",
    "cache",
    "gated_delta",
    "mla",
    "pipeline",
    "rope_utils",
    "ssm",
    "switch_layers",
}
GROUP_SIZE = 32
# Keys of an entry that are for this file; all others belong to the configuration.
OURS = ("architecture", "bits", "features", "tie_on_load")
# Quantised variants of every time: a dense model, a mixture of experts, and a model without attention.
QUANTISED = ("llama_4bit", "deepseek_v3_4bit", "mamba2_4bit")


@cache
def table() -> dict[str, Any]:
    """What table.yaml holds: `common`, `architectures`, `variants` and `cannot_run`."""
    found: dict[str, Any] = yaml.safe_load(TABLE.read_text())
    return found


def architectures() -> list[str]:
    """Names that `build` takes: the model files that can run, then the variants."""
    return [*table()["architectures"], *table()["variants"]]


def cannot_run() -> dict[str, str]:
    """Model files that are left out, and why."""
    return dict(table()["cannot_run"])


def features(name: str) -> tuple[str, ...]:
    """What is special about an architecture or a variant, as the table tells it."""
    bits = _entry(name).get("bits")
    return (*_entry(name)["features"], *([f"quantized_{bits}bit"] if bits else []))


def mlx_lm_models() -> list[str]:
    """The model files of the installed mlx-lm, helper files left out."""
    import mlx_lm.models

    found = {path.stem for folder in mlx_lm.models.__path__ for path in Path(folder).glob("*.py")}
    return sorted(found - HELPERS)


def config(name: str) -> dict[str, Any]:
    """The whole configuration of an architecture or a variant, as its config.json would hold it.

    An entry's keys replace the common ones; a nested `text_config` starts from the common keys as well.
    """
    entry = {key: value for key, value in _entry(name).items() if key not in OURS}
    common = {"model_type": model_file(name), **table()["common"]}
    if "text_config" in entry:
        entry["text_config"] = {**common, **entry["text_config"]}
    return copy.deepcopy({**common, **entry})  # models write into their configuration


def model_file(name: str) -> str:
    """The mlx-lm model file behind a name: its own, or the one that it is a variant of."""
    return str(_entry(name).get("architecture", name))


def every_time(names: Iterable[str]) -> list[str]:
    """Those of the names that every run of the tests takes: of the quantised variants a few, and all others."""
    return [name for name in names if name in QUANTISED or not name.endswith(("_4bit", "_8bit"))]


@cache
def build(name: str, seed: int = 0) -> nn.Module:
    """Build the tiny model of `name`, its parameters random but reproducible, in float32 and eval mode.

    Callers share one model for each (name, seed), so whatever they change they must put back. The first call
    seeds mlx's own generator: whoever draws from it afterwards passes a key.

    Raises:
        KeyError: `name` is in no part of the table that can run.
    """
    return fresh(name, seed)


def fresh(name: str, seed: int = 0, **changes: Any) -> nn.Module:
    """The same model as `build` makes, which nobody shares; keyword arguments override its configuration.

    Raises:
        KeyError: as `build`.
    """
    if name not in architectures():
        reason = cannot_run().get(name, "it is not in table.yaml")
        raise KeyError(f"{name} cannot be built: {reason}; names that can: {', '.join(architectures())}")
    module = importlib.import_module(f"mlx_lm.models.{model_file(name)}")
    mx.random.seed(seed)
    model = module.Model(module.ModelArgs.from_dict({**config(name), **changes}))
    _disturb(model, seed)
    if _entry(name).get("tie_on_load"):
        model.sanitize({})
    if bits := _entry(name).get("bits"):
        _quantize(model, bits)
    model.eval()
    mx.eval(model.parameters())
    return model


def random_tokens(batch: int = 1, length: int = 12, seed: int = 0) -> mx.array:
    """Token ids of shape (B, L), drawn from the whole vocabulary."""
    return mx.random.randint(0, table()["common"]["vocab_size"], (batch, length), key=mx.random.key(seed))


def _entry(name: str) -> dict[str, Any]:
    """A name's own lines in the table; a variant starts from the lines of its architecture."""
    if name in table()["architectures"]:
        return dict(table()["architectures"][name])
    variant = table()["variants"][name]
    parent = table()["architectures"][variant["architecture"]]
    text = {**parent.get("text_config", {}), **variant.get("text_config", {})}
    return {**parent, **variant, **({"text_config": text} if text else {})}


def _disturb(model: nn.Module, seed: int) -> None:
    """Move every parameter off its initial value, where ones and zeros would hide what a hook gets wrong."""
    flat = sorted(tree_flatten(model.parameters()))
    keys = mx.random.split(mx.random.key(seed), len(flat))
    moved = [(path, _moved(path, value, key)) for (path, value), key in zip(flat, keys, strict=True)]
    model.update(tree_unflatten(moved))


def _moved(path: str, value: mx.array, key: mx.array) -> mx.array:
    if not mx.issubdtype(value.dtype, mx.floating):  # packed weights: any bits are valid ones
        return mx.random.randint(0, 2**31, value.shape, key=key).astype(value.dtype)
    return value.astype(mx.float32) + _scale(path, value) * mx.random.normal(value.shape, key=key)


def _scale(path: str, value: mx.array) -> float:
    """Standard deviation of the noise: 0.1 for vectors; for matrices what keeps the size of their input."""
    if value.ndim < 2 or path.endswith((".scales", ".biases")):
        return 0.1
    convolution = "conv" in path and value.ndim == 3
    inputs = math.prod(value.shape[1:]) if convolution else value.shape[-1]
    return 0.8 / math.sqrt(inputs)


def _quantize(model: nn.Module, bits: int) -> None:
    """Quantise as mlx-lm does: what can be, where the width allows it, and as the model's own predicate says."""
    own = getattr(model, "quant_predicate", None)

    def wanted(path: str, module: nn.Module) -> bool | dict[str, int]:
        if not hasattr(module, "to_quantized") or module.weight.shape[-1] % GROUP_SIZE:
            return False
        answer = own(path, module) if own else True
        return {**answer, "group_size": GROUP_SIZE} if isinstance(answer, dict) else answer

    nn.quantize(model, group_size=GROUP_SIZE, bits=bits, class_predicate=wanted)
