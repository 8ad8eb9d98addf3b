"""Reading a checkpoint folder through mlx-lm, and what mlx-lm would read wrongly."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.subject.backend import warn_if_slow
from lazarus_probe.subject.load import LoadError

ADAPTER_FILES = ("adapter_config.json", "adapters.safetensors")


def load_checkpoint(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The model in a folder, and the configuration it was built with.

    Raises:
        LoadError: mlx-lm cannot build it, or would build something else than the configuration says.
    """
    from mlx_lm.utils import _get_classes, load_config, load_model

    config = _or_load_error(f"{folder} cannot be read", lambda: load_config(folder))
    _, args_class = _or_load_error(f"{folder} cannot be built", lambda: _get_classes(config))
    names = {field.name for field in fields(args_class)} if is_dataclass(args_class) else set(config)
    overrides = legacy_rope(config, names)
    model, config = _or_load_error(
        f"{folder} cannot be built", lambda: load_model(folder, lazy=True, model_config=overrides)
    )
    if mx.default_device() == mx.cpu:
        warn_if_slow()
        if not config.get("quantization"):
            model.set_dtype(mx.float32)
    _or_load_error(f"the weights in {folder} cannot be read", lambda: mx.eval(model.parameters()))
    return model, config


def legacy_rope(config: dict[str, Any], accepted: set[str]) -> dict[str, Any]:
    """The keys that mlx-lm reads for what newer configurations nest in `rope_parameters`.

    Args:
        config: a model's configuration.
        accepted: the names that mlx-lm's arguments of that model have; a model that takes `rope_parameters`
            reads them itself, and gets no keys.

    Raises:
        LoadError: a setting has no key that the model would read, or contradicts the one that is there.
    """
    nested = config.get("rope_parameters")
    if not nested or "rope_parameters" in accepted:
        return {}
    if any(isinstance(value, dict) for value in nested.values()):
        raise LoadError(
            f"rope_parameters differ between layer types ({', '.join(nested)}), which mlx-lm's "
            f"{config['model_type']} does not support"
        )
    lifted = _lifted(nested)
    for key, value in lifted.items():
        if key not in accepted:
            raise LoadError(
                f"rope_parameters set {key} to {value}, which mlx-lm's {config['model_type']} ignores"
            )
        if config.get(key, value) not in (value, None):
            raise LoadError(f"config.json gives {key} twice: {config[key]}, and {value} in rope_parameters")
    return lifted


def _lifted(nested: dict[str, Any]) -> dict[str, Any]:
    scaling: dict[str, Any] = dict(nested)
    kind = scaling.get("rope_type", scaling.get("type", "default"))
    lifted: dict[str, Any] = {}
    for key in ("rope_theta", "partial_rotary_factor"):
        if key in scaling:
            lifted[key] = scaling.pop(key)
    if lifted.get("partial_rotary_factor") == 1:
        del lifted["partial_rotary_factor"]
    return lifted if kind == "default" else {**lifted, "rope_scaling": scaling}


def load_tokenizer(folder: Path, config: dict[str, Any]) -> Any:
    """The tokenizer in a folder, ending texts at the configuration's end-of-sequence tokens.

    Raises:
        LoadError: it cannot be read.
    """
    from mlx_lm.utils import load_tokenizer as load

    return _or_load_error(
        f"the tokenizer in {folder} cannot be read",
        lambda: load(folder, eos_token_ids=config.get("eos_token_id")),
    )


def load_adapter(model: nn.Module, folder: Path) -> None:
    """Put the LoRA or full weights of an mlx-lm adapter folder on a model, in place.

    Raises:
        LoadError: the folder is no adapter, or one of another model.
    """
    from mlx_lm.tuner.utils import load_adapters

    for name in ADAPTER_FILES:
        if not (folder / name).is_file():
            raise LoadError(f"{folder} is not an adapter: {name} is missing")
    _or_load_error(
        f"the adapter in {folder} cannot be put on the model", lambda: load_adapters(model, str(folder))
    )
    model.eval()
    mx.eval(model.parameters())


def _or_load_error(what: str, action: Callable[[], Any]) -> Any:
    """What `action` returns; its failure, in whatever form the libraries below report it, as one line."""
    try:
        return action()
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        json.JSONDecodeError,
    ) as error:
        detail = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"{what}: {detail}") from error
