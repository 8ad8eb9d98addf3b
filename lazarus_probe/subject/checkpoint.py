"""Reading a checkpoint folder through mlx-lm."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.subject.backend import warn_if_slow
from lazarus_probe.subject.config import section_of, translated
from lazarus_probe.subject.differences import CheckpointWarning, differences
from lazarus_probe.subject.load import LoadError


def load_checkpoint(folder: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The model in a folder, and the configuration it was built with.

    Warns (`CheckpointWarning`) of each difference to transformers that is known; see `differences`.

    Raises:
        LoadError: mlx-lm cannot build it, or would build something else than the configuration says.
    """
    from mlx_lm.utils import _get_classes, load_config, load_model

    config = or_load_error(f"{folder} cannot be read", lambda: load_config(folder))
    what = f"{folder} cannot be built"
    classes = or_load_error(what, lambda: _get_classes(config))
    overrides = or_load_error(what, lambda: translated(config, *classes))
    section = section_of({**config, **overrides}, *classes)
    for line in or_load_error(what, lambda: differences(section)):
        warnings.warn(f"{folder.name}: {line}", CheckpointWarning, stacklevel=2)
    model, config = or_load_error(what, lambda: load_model(folder, lazy=True, model_config=overrides))
    if mx.default_device() == mx.cpu:
        warn_if_slow()
        if not config.get("quantization"):
            model.set_dtype(mx.float32)
    or_load_error(f"the weights in {folder} cannot be read", lambda: mx.eval(model.parameters()))
    return model, config


def load_tokenizer(folder: Path, config: dict[str, Any]) -> Any:
    """The tokenizer in a folder, ending texts at the configuration's end-of-sequence tokens.

    Raises:
        LoadError: it cannot be read.
    """
    from mlx_lm.utils import load_tokenizer as load

    return or_load_error(
        f"the tokenizer in {folder} cannot be read",
        lambda: load(folder, eos_token_ids=config.get("eos_token_id")),
    )


def or_load_error(what: str, action: Callable[[], Any]) -> Any:
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
        ImportError,
    ) as error:
        length = None if isinstance(error, LoadError) else 200
        detail = " ".join(str(error).split())[:length] or type(error).__name__
        raise LoadError(f"{what}: {detail}") from error
    except SystemExit as error:
        # mlx-lm's olmo ends the process where a package of its own is missing.
        raise LoadError(f"{what}: mlx-lm exits, asking for another package") from error
