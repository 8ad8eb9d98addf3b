"""Norms as linear maps: what a norm does to each of the terms of a sum, with its scale held at what it is for the sum.

A norm divides by a number that all of its input makes. With that number held, what it returns is a sum of what it
makes of each term (Elhage et al. 2021). The map is read off the module itself, whatever its kind, and checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.taps import Tap, original, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class FrozenNorm:
    """A norm of rows (N, D) with their scales held: `terms * weight`, less their mean if it centres, plus a bias.

    Attributes:
        weight: (N, D) what each value is multiplied by.
        bias: (D,) what is added whatever the input.
        centred: whether the mean is taken away first, as a LayerNorm does.
        error: largest difference from what the module returns, relative to the largest value.
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    centred: bool
    error: float

    def of(self, terms: NDArray[Any]) -> NDArray[np.float64]:
        """What the norm makes of terms (..., N, D), without its bias."""
        values = np.asarray(terms, dtype=np.float64)
        if self.centred:
            values = values - values.mean(axis=-1, keepdims=True)
        return values * self.weight


def frozen_norm(norm: nn.Module, inputs: NDArray[Any], dtype: Any, tolerance: float) -> FrozenNorm | None:
    """The linear map that a norm is on rows (N, D) whose scales are held; None if it is no RMSNorm or LayerNorm.

    Args:
        norm: the module.
        inputs: (N, D) the rows, as the norm is given them.
        dtype: the type in which the model computes.
        tolerance: relative error up to which the map is taken for the module.
    """
    run, width = original(norm), inputs.shape[-1]

    def returned(rows: NDArray[Any]) -> NDArray[np.float64]:
        value = run(mx.array(np.asarray(rows, dtype=np.float32)).astype(dtype)[None])
        return np.array(value[0].astype(mx.float32), dtype=np.float64)

    rows = np.asarray(inputs, dtype=np.float64)
    # Plus and minus one in turns has mean 0 and mean square 1, so that both kinds of norm return their weights.
    turns = np.resize([1.0, -1.0], width)
    bias = returned(np.zeros((1, width)))[0]
    gain = (returned(turns[None])[0] - bias) / turns
    wanted = returned(rows)
    for centred in (False, True):
        if centred and width % 2:
            continue
        plain = (rows - rows.mean(axis=-1, keepdims=True) if centred else rows) * gain
        scale = ((wanted - bias) * plain).sum(axis=-1) / (plain**2).sum(axis=-1)
        error = float(np.abs(plain * scale[:, None] + bias - wanted).max() / np.abs(wanted).max())
        if error <= tolerance:
            return FrozenNorm(scale[:, None] * gain, bias, centred, error)
    return None


def final_norm(subject: Subject, tokens: mx.array) -> nn.Module:
    """The module that is given what the last block returns.

    Raises:
        UnsupportedArchitecture: there is none, or several.
    """
    anatomy, last, found = subject.anatomy, list[mx.array](), list[nn.Module]()
    inside = {id(module) for block in anatomy.blocks for module in block.modules()}

    def keep(value: mx.array) -> mx.array:
        last[:] = [value]
        return value

    def watcher(module: nn.Module) -> Any:
        def watch(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            if any(value is one for value in (*args, *kwargs.values()) for one in last):
                found.append(module)

        return watch

    others = [module for module in anatomy.model.modules() if id(module) not in inside]
    with tapped([Tap(anatomy.blocks[-1], after=keep), *(Tap(one, watch=watcher(one)) for one in others)]):
        from lazarus_probe.anatomy.forward_pass import forward

        forward(anatomy.model, tokens)
    if len(found) != 1:
        raise UnsupportedArchitecture(
            f"{subject.name} has {len(found)} modules that read the last block's output; "
            "a single final norm is needed to split the logits into a sum"
        )
    return found[0]


@contextmanager
def given_after(norm: nn.Module, value: mx.array) -> Iterator[None]:
    """Within, a norm returns a value that is given."""
    with tapped([Tap(norm, after=lambda _: value)]):
        yield


def relative_error(found: Sequence[float] | NDArray[Any], wanted: Sequence[float] | NDArray[Any]) -> float:
    """Largest difference of two arrays, relative to the largest value of the second."""
    left, right = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    return float(np.abs(left - right).max() / (np.abs(right).max() or 1.0))
