"""Weights that hold numbers that are not finite, named with the file that they are in."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.pipeline_parallel import held_weights
from lazarus_probe.checkpoints.formats import INDEX
from lazarus_probe.files.plain_json import read_json

OTHER_WEIGHTS = "give other weights: the file is damaged, or its training diverged"


def bad_weight(
    model: nn.Module, path: Path | None = None, spared: Collection[str] = (), masks: bool = False
) -> str | None:
    """The first weight of a model that holds a number that is not finite, in words with the file it is in.

    Args:
        model: the model.
        path: the folder of its checkpoint.
        spared: names of weights that are not looked at.
        masks: minus infinity is let be in a vector that nothing is multiplied by.
    """
    weights = [
        (name, value)
        for name, value in held_weights(model)
        if mx.issubdtype(value.dtype, mx.floating) and name not in spared
    ]
    # A sum takes a third of the time of a look at each number, and is finite only where they all are.
    sums: Any = mx.stack([mx.isfinite(value.sum()) for _, value in weights]).tolist()
    for (name, value), good in zip(weights, sums, strict=True):
        mask = masks and value.ndim == 1 and not name.endswith("weight")
        fine = value < mx.inf if mask else mx.isfinite(value)
        count: Any = 0 if good else (~fine).sum().item()
        if count:
            adapter = ", of the adapter," if ".lora_" in f".{name}" else _file(name, path)
            return f"the weight {name}{adapter} holds {count} of {value.size} numbers that are not finite"
    return None


def bad_weight_unseen(anatomy: Anatomy, path: Path | None = None) -> str | None:
    """What `bad_weight` finds of those weights whose numbers the logits need not show, as a router's do not.

    Rows of an embedding that no token uses harm nothing, and one that is used shows, unless the model reads its tokens
    off with the same rows. Minus infinity may be a mask, as in the bias of an output that must not be chosen.
    """
    weights = dict(tree_flatten(anatomy.model.parameters()))
    embedded = {id(value) for _, value in tree_flatten(anatomy.embedding.parameters())}
    embedding = {name for name, value in weights.items() if id(value) in embedded}
    rows = {value.shape[:1] for name, value in weights.items() if value.ndim > 1 and name not in embedding}
    spared = embedding if (anatomy.vocab_size,) in rows else set()
    return bad_weight(anatomy.model, path, spared, masks=True)


def _file(name: str, path: Path | None) -> str:
    """The file of a checkpoint that holds a weight, as far as its index tells."""
    if path is None:
        return ""
    try:
        return f" in {path / read_json(path / INDEX)['weight_map'][name]}"
    except (OSError, ValueError, KeyError, TypeError):
        single = path / "model.safetensors"
        return f" in {single if single.is_file() else path}"
