"""Every array of a model under the name that it has without adapters and quantisation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.anatomy.tensor_parallel import require_whole


def named_weights(model: nn.Module) -> Iterator[tuple[str, tuple[int, ...], Callable[[], mx.array]]]:
    """Name, shape and reader of every weight; modules that stand in two places are taken once.

    Raises:
        ValueError: this process holds only a part of the model.
    """
    require_whole(model, "what reads weights")
    modules = [(path, module) for path, module in model.named_modules()]
    adapted = [path for path, module in modules if "lora_a" in module]
    module_ids: set[int] = set()
    for path, module in modules:
        within = any(path.startswith(f"{adapted_path}.") for adapted_path in adapted)
        if id(module) in module_ids or within:
            continue
        module_ids.add(id(module))
        module = _fused(module)
        for key, value in _own(module):
            quantised = key == "weight" and "scales" in module
            read = partial(_dequantised, module) if quantised else partial(_identity, value)
            shape = _quantised_shape(module) if quantised else tuple(value.shape)
            yield (f"{path}.{key}" if path else key), shape, read


def _own(module: nn.Module) -> Iterator[tuple[str, mx.array]]:
    """A module's own arrays, without those of modules in it and without what a quantised weight is coded by."""
    coded = ("scales", "biases", "global_scale") if "scales" in module else ()
    for key, value in module.items():
        if key.startswith("_") or key in coded or isinstance(value, nn.Module):
            continue
        if isinstance(value, mx.array):
            yield key, value
        elif isinstance(value, list | dict):
            for inner, array in tree_flatten(value, is_leaf=lambda leaf: isinstance(leaf, nn.Module)):
                if isinstance(array, mx.array):
                    yield f"{key}.{inner}", array


def _identity(value: mx.array) -> mx.array:
    return value


def plain_weight(module: Any) -> mx.array:
    """The numbers that a linear layer's weight stands for, quantised or not, with an adapter on it added.

    Raises:
        ValueError: this process holds only a part of it.
    """
    require_whole(module, "what reads weights")
    module = _fused(module)
    return _dequantised(module) if "scales" in module else module["weight"]


def _fused(module: Any) -> Any:
    """A module with the adapter on it added to its weight; itself without one."""
    if "lora_a" not in module:
        return module
    with random_state(0):  # what is fused into is drawn first
        return module.fuse(dequantize=True)


def _dequantised(module: Any) -> mx.array:
    extra = {} if module.get("global_scale") is None else {"global_scale": module["global_scale"]}
    return mx.dequantize(
        module["weight"],
        module["scales"],
        module.get("biases"),
        group_size=module.group_size,
        bits=module.bits,
        mode=getattr(module, "mode", "affine"),
        **extra,
    )


def _quantised_shape(module: Any) -> tuple[int, ...]:
    return (*module["weight"].shape[:-1], module["weight"].shape[-1] * 32 // module.bits)


def weight_bytes(module: nn.Module) -> int:
    """Bytes of a module's weights, as they are."""
    return sum(weight.nbytes for _, weight in tree_flatten(module.parameters()))
