"""The polynomial exponential against NumPy, and its gradients against mlx's own."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lazarus_probe.training import fast_exp


def test_exp_is_float32_exact():
    """Over its whole range the relative error stays within a few units in the last place."""
    x = np.linspace(-87, 88, 200_001, dtype=np.float32)
    found = np.array(fast_exp.exp(mx.array(x)), np.float64)
    assert np.abs(found / np.exp(x.astype(np.float64)) - 1).max() < 4e-7


@pytest.mark.parametrize(("x", "nearer"), [(-1000.0, -87.0), (1000.0, 88.0), (-np.inf, -87.0)])
def test_exp_is_bounded(x: float, nearer: float):
    """Outside its range it gives the value at the nearer end, so that nothing overflows."""
    assert fast_exp.exp(mx.array([x])).item() == pytest.approx(np.exp(nearer), rel=1e-6)


def test_exp_of_zero_is_one():
    """Zero, where a softmax has its peak, is exact."""
    assert fast_exp.exp(mx.array([0.0])).item() == 1.0


def plain_swiglu(gate: mx.array, up: mx.array) -> mx.array:
    return nn.silu(gate) * up


def plain_cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    return nn.losses.cross_entropy(logits, targets)


def gradients(function, first: mx.array, second: mx.array, weights: mx.array, argnums) -> list[np.ndarray]:
    def total(first: mx.array, second: mx.array) -> mx.array:
        return (function(first, second) * weights).sum()

    found = mx.grad(total, argnums)(first, second)
    return [np.array(value) for value in (found if isinstance(found, tuple) else (found,))]


def draw(*shape: int, scale: float = 4.0) -> mx.array:
    return mx.array(np.random.default_rng(len(shape)).normal(0, scale, shape).astype(np.float32))


def test_swiglu():
    """Value and both gradients are those of mlx's `silu(gate) * up`."""
    gate, up, weights = draw(5, 7), draw(5, 7) + 1, draw(5, 7) - 1
    np.testing.assert_allclose(
        np.array(fast_exp.swiglu(gate, up)), np.array(plain_swiglu(gate, up)), rtol=2e-6, atol=2e-6
    )
    pairs = zip(
        gradients(fast_exp.swiglu, gate, up, weights, (0, 1)),
        gradients(plain_swiglu, gate, up, weights, (0, 1)),
        strict=True,
    )
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 4.0, 60.0])
def test_cross_entropy(scale: float):
    """Value and gradient are those of mlx's cross-entropy, also where one logit is far above the rest."""
    logits, weights = draw(6, 50, scale=scale), draw(6)
    targets = mx.array([0, 49, 7, 7, 20, 3])
    np.testing.assert_allclose(
        np.array(fast_exp.cross_entropy(logits, targets)),
        np.array(plain_cross_entropy(logits, targets)),
        rtol=2e-6,
        atol=2e-5,
    )
    found = gradients(fast_exp.cross_entropy, logits, targets, weights, 0)
    expected = gradients(plain_cross_entropy, logits, targets, weights, 0)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5, atol=1e-5)
