"""Adding LoRA to the weights it is on, and what that costs where the weights are quantised."""

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
    """LoRA that was merged into quantised weights, which rounds it."""


@dataclass(frozen=True)
class Rounding:
    """What merging into one quantised projection lost, as sums of squares over its weights.

    Attributes:
        error: of the merged weights, from the weights that the model had with the LoRA.
        update: of what the LoRA adds.
        bits: of the quantised weights.
    """

    error: float
    update: float
    bits: int


def merged(layer: Any, dequantize: bool) -> Any:
    """The linear layer with what LoRA adds to it, that of LoRA under LoRA included."""
    linear = layer.linear
    try:
        if is_lora(linear):
            layer.linear = merged(linear, dequantize)
        whole = layer.fuse(dequantize=dequantize)
    finally:
        layer.linear = linear
    whole._training = linear.training
    return whole


def rounding_of(layer: Any, whole: Any) -> Rounding | None:
    """How far merged weights are from those that were to come out; None where they are not quantised.

    Args:
        layer: the layer with its LoRA.
        whole: what `merged` made of it.
    """
    if "scales" not in whole:
        return None
    exact = merged(layer, dequantize=True).weight
    return Rounding(
        _squares(exact - plain_weight(whole)), _squares(exact - plain_weight(bare(layer))), int(whole.bits)
    )


def warn_of_rounding(name: str, roundings: Sequence[Rounding]) -> None:
    """Warn (`MergeWarning`) of what was lost, as a share of the size of the update."""
    update = sum(each.update for each in roundings)
    if not roundings or not update:
        return
    share = (sum(each.error for each in roundings) / update) ** 0.5
    times = f"{share:.0f}" if share >= 10 else f"{share:.2g}"
    bits = " and ".join(str(bits) for bits in sorted({each.bits for each in roundings}))
    warn(
        f"{name}: LoRA was merged into weights of {bits} bits, which rounded them again: the rounding is {times} "
        f"times as large as what the LoRA adds (root mean squares over {len(roundings)} projections); leave it "
        "unmerged, or merge with dequantize=True, to keep what was measured",
        MergeWarning,
    )


def _squares(values: mx.array) -> float:
    return float(np.square(np.array(values.astype(mx.float32))).sum(dtype=np.float64))
