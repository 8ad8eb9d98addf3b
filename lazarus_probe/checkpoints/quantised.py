"""Quantised weights on a CPU, where mlx multiplies by them slowly."""

from __future__ import annotations

import os
from typing import Any

import mlx.core as mx
import mlx.nn as nn
from mlx.utils import tree_flatten

from lazarus_probe.checkpoints.differences import CheckpointWarning
from lazarus_probe.warn import warn

# Of the machine's memory, what the float32 weights of a quantised model may take.
SHARE = 0.5
KEYS = ("quantization", "quantization_config")
WAS = "dequantized_from"  # in the configuration: how the checkpoint's own weights are quantised


def for_cpu(name: str, model: nn.Module, config: dict[str, Any]) -> dict[str, Any]:
    """Let a quantised model multiply in float32, and return its configuration as it then is.

    Measured on a product of 37 x 576 x 1,536: 1,599 ms with 4-bit weights and the float16 scales that mlx-lm writes, 43
    ms with float32 scales, 1.3 ms with float32 weights. So the weights become the float32 numbers that they stand for;
    only where these would take more than half of the machine's memory the scales alone do.

    Warns (`CheckpointWarning`) of what was done, with its size.

    Args:
        name: of the model, for the warning.
        model: changed in place.
        config: its configuration.
    """
    from mlx_lm.utils import dequantize_model

    layers = [module for module in model.modules() if "scales" in module]
    packed = sum(value.nbytes for module in layers for _, value in tree_flatten(module.parameters()))
    plain = sum(4 * module.weight.size * 32 // module.bits for module in layers)
    model.set_dtype(mx.float32)
    if plain > SHARE * _memory():
        warn(
            f"{name}: quantised weights are kept on this CPU, for as float32 they would take {_shown(plain)}, more "
            "than half of its memory; a product takes some 30 times as long as one of float32",
            CheckpointWarning,
        )
        return config
    dequantize_model(model)
    model.set_dtype(mx.float32)
    warn(
        f"{name}: quantised weights are used as float32 on this CPU ({_shown(plain)} in place of {_shown(packed)}), "
        "where quantised products take many times as long",
        CheckpointWarning,
    )
    return {key: value for key, value in config.items() if key not in KEYS} | {WAS: config["quantization"]}


def _memory() -> int:
    """The machine's memory in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _shown(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
