"""Models of which each process holds a part: a value inside may then be a part of the whole model's."""

from __future__ import annotations

from typing import Any

import mlx.nn as nn
from mlx.nn.layers.distributed import (
    AllToShardedLinear,
    QuantizedAllToShardedLinear,
    QuantizedShardedToAllLinear,
    ShardedToAllLinear,
)

SPLIT_OUTPUTS = (AllToShardedLinear, QuantizedAllToShardedLinear)
SPLIT_INPUTS = (ShardedToAllLinear, QuantizedShardedToAllLinear)


def split_module(model: nn.Module) -> str | None:
    """The first module of which this process holds a part, in words; None where it holds all of the model."""
    for path, module in model.named_modules():
        name = f"{path or 'the model'} ({type(module).__name__})"
        if (size := _size(module)) > 1:
            return f"{name} is split over {size} processes"
        if (stages := getattr(module, "pipeline_size", 1)) > 1:
            return f"{name} has its layers on {stages} processes"
    return None


def _size(module: Any) -> int:
    """Over how many processes mlx-lm split a module, or what is in it."""
    kinds = isinstance(module, SPLIT_OUTPUTS + SPLIT_INPUTS)
    group = module.group if kinds else getattr(module, "sharding_group", None)
    return 1 if group is None else int(group.size())
