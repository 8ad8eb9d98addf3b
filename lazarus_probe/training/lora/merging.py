"""Merging LoRA into the base weights, and the rounding error where those are quantised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.plain_weights import plain_weight
from lazarus_probe.anatomy.projections import bare, is_lora
from lazarus_probe.warn import warn


class MergeWarning(UserWarning):
    """LoRA was merged into quantised weights, which rounds it."""


@dataclass(frozen=True)
class Rounding:
    """The rounding error of merging into one quantised projection, as sums of squares over its weights.

    Attributes:
        error: of the merged weights, relative to the weights with the LoRA attached.
        update: of the LoRA update.
        bits: of the quantised weights.
    """

    error: float
    update: float
    bits: int


def merged(layer: Any, dequantize: bool) -> Any:
    """The linear layer with its LoRA update added, including LoRA nested inside LoRA."""
    linear = layer.linear
    try:
        if is_lora(linear):
            layer.linear = merged(linear, dequantize)
        fused = layer.fuse(dequantize=dequantize)
    finally:
        layer.linear = linear
    fused._training = linear.training
    return fused


def rounding_of(layer: Any, fused: Any) -> Rounding | None:
    """The error of merged weights relative to the exact sum; None where they are not quantised.

    Args:
        layer: the layer with its LoRA.
        fused: the result of `merged`.
    """
    if "scales" not in fused:
        return None
    exact = merged(layer, dequantize=True).weight
    return Rounding(
        _squares(exact - plain_weight(fused)), _squares(exact - plain_weight(bare(layer))), int(fused.bits)
    )


def warn_of_rounding(name: str, roundings: Sequence[Rounding]) -> None:
    """Warn (`MergeWarning`) of the rounding error, relative to the size of the update."""
    update = sum(rounding.update for rounding in roundings)
    if not roundings or not update:
        return
    share = (sum(rounding.error for rounding in roundings) / update) ** 0.5
    times = f"{share:.0f}" if share >= 10 else f"{share:.2g}"
    bits = " and ".join(str(bits) for bits in sorted({rounding.bits for rounding in roundings}))
    warn(
        f"{name}: LoRA was merged into weights of {bits} bits, which rounded them again: the rounding is {times} "
        f"times as large as what the LoRA adds (root mean squares over {len(roundings)} projections); leave it "
        "unmerged, or merge with dequantize=True, to keep what was measured",
        MergeWarning,
    )


def _squares(values: mx.array) -> float:
    return float(np.square(np.array(values.astype(mx.float32))).sum(dtype=np.float64))
