"""Norms as linear maps on the terms of a sum, with the scale frozen at its value for the sum.

With the scale frozen, a norm's output is the sum of its outputs for each term (Elhage et al. 2021). The map is measured
on the module itself, whatever its kind, and checked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.replay import replay
from lazarus_probe.taps import Tap, original, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """A norm of rows (N, D) with frozen scales: `terms * weight`, minus their mean if it centres, plus a bias.

    Attributes:
        weight: (N, D) factor of each value.
        bias: (D,) added to any input.
        centred: whether the mean is subtracted first, as in a LayerNorm.
        error: largest difference from the module's output, relative to the largest value.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    centred: bool
    error: float

    def of(self, terms: NDArray[Any]) -> NDArray[np.float64]:
        """The norm of terms (..., N, D), without its bias."""
        values = np.asarray(terms, dtype=np.float64)
        if self.centred:
            values = values - values.mean(axis=-1, keepdims=True)
        return values * self.weight


def frozen_norm(norm: nn.Module, inputs: NDArray[Any], dtype: Any, tolerance: float) -> FrozenNorm | None:
    """A norm as a linear map on rows (N, D) with frozen scales; None if it is not an RMSNorm or LayerNorm.

    Args:
        norm: the module.
        inputs: (N, D) its input.
        dtype: the type in which the model computes.
        tolerance: relative error up to which the map counts as equal to the module.
    """
    run, width = original(norm), inputs.shape[-1]

    def returned(rows: NDArray[Any]) -> NDArray[np.float64]:
        value = run(mx.array(np.asarray(rows, dtype=np.float32)).astype(dtype)[None])
        return np.array(value[0].astype(mx.float32), dtype=np.float64)

    rows = np.asarray(inputs, dtype=np.float64)
    # Alternating plus and minus one has mean 0 and mean square 1, so that both kinds of norm return their weights.
    turns = np.resize([1.0, -1.0], width)
    bias = returned(np.zeros((1, width)))[0]
    gain = (returned(turns[None])[0] - bias) / turns
    normed = returned(rows)
    for centred in (False, True):
        if centred and width % 2:
            continue
        plain = (rows - rows.mean(axis=-1, keepdims=True) if centred else rows) * gain
        scale = ((normed - bias) * plain).sum(axis=-1) / (plain**2).sum(axis=-1)
        error = float(np.abs(plain * scale[:, None] + bias - normed).max() / np.abs(normed).max())
        if error <= tolerance:
            return FrozenNorm(scale[:, None] * gain, bias, centred, error)
    return None


def final_norm(subject: Subject, tokens: mx.array) -> nn.Module:
    """The module that reads the output of the last block.

    Raises:
        UnsupportedArchitecture: there is none, or several.
    """
    anatomy, last, readers = subject.anatomy, list[mx.array](), list[nn.Module]()
    inside = {id(module) for block in anatomy.blocks for module in block.modules()}

    def keep(value: mx.array) -> mx.array:
        last[:] = [value]
        return value

    def watcher(module: nn.Module) -> Any:
        def watch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if any(value is output for value in (*args, *kwargs.values()) for output in last):
                readers.append(module)

        return watch

    others = [module for module in anatomy.model.modules() if id(module) not in inside]
    with tapped(
        [Tap(anatomy.blocks[-1], after=keep), *(Tap(module, watch=watcher(module)) for module in others)]
    ):
        forward(anatomy.model, tokens)
    if len(readers) != 1:
        raise UnsupportedArchitecture(
            f"{subject.name} has {len(readers)} modules that read the last block's output; "
            "a single final norm is needed to split the logits into a sum"
        )
    return readers[0]


@dataclass(frozen=True, eq=False)
class ReadOut:
    """Numbers of the logits as a function of what the final norm returns, at N rows.

    Attributes:
        slopes: (N, D) gradient at the rows.
        values: (N,) the numbers at the rows.
        constants: (N,) the numbers at zero.
    """

    slopes: NDArray[np.float64]
    values: NDArray[np.float64]
    constants: NDArray[np.float64]


def read_out(
    subject: Subject, norm: nn.Module, normed: NDArray[Any], pick: Callable[[mx.array], mx.array]
) -> ReadOut:
    """What the unembedding makes of rows (N, D) that the final norm returns, with its gradient.

    Args:
        subject: the model.
        norm: its final norm.
        normed: (N, D) rows put in place of what the norm returns.
        pick: from logits (N, V) to one number a row.
    """
    dtype = getattr(mx, subject.dtype)
    rows = mx.array(np.asarray(normed, dtype=np.float32)).astype(dtype)[:, None]

    def picked(value: mx.array) -> mx.array:
        with tapped([Tap(norm, after=lambda _: value)]):
            return pick(replay(subject, mx.ones_like(rows))[:, 0].astype(mx.float32))

    slopes = mx.grad(lambda value: picked(value).sum())(rows)[:, 0]
    values = (picked(value) for value in (rows, mx.zeros_like(rows)))
    return ReadOut(*(np.array(value.astype(mx.float32), dtype=np.float64) for value in (slopes, *values)))


def relative_error(values: NDArray[Any], reference: NDArray[Any]) -> float:
    """Largest difference of two arrays, relative to the largest value of the second."""
    values, reference = np.asarray(values, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    return float(np.abs(values - reference).max() / (np.abs(reference).max() or 1.0))
