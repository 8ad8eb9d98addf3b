"""Models of a configuration without weights: of any size, since nothing of them is computed."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.checkpoints.checkpoint import few_files_suffice, or_load_error
from lazarus_probe.checkpoints.config import translated
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.names import find, read_config
from lazarus_probe.files.paths import user_path
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.plain_yaml import read_yaml

GROUP_SIZE = 64


@cache
def published() -> dict[str, dict[str, Any]]:
    """Configurations of well-known models, by name."""
    return dict(read_yaml(Path(__file__).with_name("published_shapes.yaml")).value)


def configuration(name: str) -> dict[str, Any]:
    """The configuration of a published model by name, in a config.json, or of a model that `Subject.load` finds.

    Raises:
        LoadError: there is none.
    """
    if name in published():
        return dict(published()[name])
    path = user_path(name)
    if path.is_file() and path.suffix == ".json":
        return dict(read_json(path))
    folder = find(name, files=["config.json"])
    if folder.is_file():
        raise LoadError(f"{folder} has no config.json; name a folder with one")
    return read_config(folder)


def blank_model(config: dict[str, Any], dtype: str = "bfloat16", bits: int | None = None) -> nn.Module:
    """A model of a configuration, newly initialised, of which no weight is computed unless it is used.

    Args:
        config: as in a config.json.
        dtype: of its weights, as in `bfloat16`.
        bits: of quantised weights, in groups of 64; those that cannot be quantised are of `dtype`.

    Raises:
        LoadError: mlx-lm builds no model of it.
    """
    with few_files_suffice():
        from mlx_lm.utils import _get_classes

    def built() -> nn.Module:
        model_class, args_class = _get_classes(config)
        changes = translated(config, model_class, args_class)
        return model_class(args_class.from_dict({**config, **changes}))

    model: nn.Module = or_load_error("the configuration cannot be built", built)
    model.set_dtype(getattr(mx, dtype))
    if bits:
        own = getattr(model, "quant_predicate", None)

        def quantised(path: str, module: nn.Module) -> Any:
            fits = hasattr(module, "to_quantized") and module.weight.shape[-1] % GROUP_SIZE == 0
            return fits and (own is None or bool(own(path, module)))

        nn.quantize(model, group_size=GROUP_SIZE, bits=bits, class_predicate=quantised)
    model.eval()
    return model
