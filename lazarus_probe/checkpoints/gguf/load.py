"""From a GGUF file to a model with its tokenizer and configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.backend import warn_if_slow
from lazarus_probe.checkpoints.checkpoint import few_files_suffice, or_load_error, section_for
from lazarus_probe.checkpoints.config import section_of
from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.config import config_of, spelled
from lazarus_probe.checkpoints.gguf.reader import GgufFile, read_gguf
from lazarus_probe.checkpoints.gguf.tokenizer import tokenizer_of
from lazarus_probe.checkpoints.gguf.weights import load_weights, tensor_dtypes


def load_gguf(path: Path) -> tuple[nn.Module, dict[str, Any], Any]:
    """The model in a file, the configuration it was built with, and its tokenizer.

    Quantised weights are read as the numbers that they stand for: float32 on the CPU, where a quantised product takes
    many times as long, and bfloat16 elsewhere, unless all are float32 or float16.

    Warns (`CheckpointWarning`) of each difference to transformers that is known.

    Raises:
        LoadError: the file is damaged, its architecture or tokenizer is not loaded, or it lacks something; the message
            names file and field.
    """
    file = read_gguf(path)
    config = config_of(file)
    tokenizer = tokenizer_of(file)
    model, config = _built(file, config)
    if mx.default_device() == mx.cpu:
        warn_if_slow()
    load_weights(file, model, config, _dtype(file))
    model.eval()
    or_load_error(f"the weights in {path} cannot be read", lambda: mx.eval(model.parameters()))
    return model, config, tokenizer


def _built(file: GgufFile, config: dict[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    with few_files_suffice():
        from mlx_lm.utils import _get_classes

    what = f"{file.path} cannot be built"
    classes = or_load_error(what, lambda: _get_classes(config))
    names = spelled(config, section_of(config, *classes).accepted)
    try:
        overrides, section = section_for(file.path, names, classes, file.tensors.values())
    except LoadError as error:
        raise LoadError(str(error).replace("config.json", "the metadata")) from None
    if lacks := sorted(section.required - {*names, *overrides}):
        raise LoadError(f"{what}: its metadata lack what mlx-lm's {section.kind} needs: {', '.join(lacks)}")
    model = or_load_error(what, lambda: classes[0](classes[1].from_dict({**names, **overrides})))
    return model, {**config, **names, **overrides}


def _dtype(file: GgufFile) -> mx.Dtype:
    kinds = set(tensor_dtypes(file))
    if mx.default_device() == mx.cpu or kinds <= {"F32"}:
        return mx.float32
    return mx.float16 if kinds <= {"F32", "F16"} else mx.bfloat16
