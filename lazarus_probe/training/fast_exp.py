"""Exponentials for training on a CPU, where `mx.exp` is scalar: a polynomial, about 4x faster.

The relative error is at most 2e-7, negligible for training; every exact comparison still runs the model's own
code.
"""

from __future__ import annotations

from math import factorial
from typing import Any

import mlx.core as mx

_LOG2E = 1.4426950408889634
# ln(2) in two parts: the first has so few bits that its product with a whole number is exact.
_LN2_HIGH, _LN2_LOW = 0.693359375, -2.12194440e-4
_TERMS = tuple(1.0 / factorial(k) for k in range(7, -1, -1))


def exp(x: mx.array) -> mx.array:
    """`exp` of float32 values between -87 and 88; outside, the value at the nearer end."""
    x = mx.clip(x, -87.0, 88.0)
    exponent = mx.round(x * _LOG2E)
    part = (x - exponent * _LN2_HIGH) - exponent * _LN2_LOW
    value = _TERMS[0] * part + _TERMS[1]
    for term in _TERMS[2:]:
        value = value * part + term
    power = mx.left_shift(exponent.astype(mx.int32) + 127, 23).view(mx.float32)
    return value * power


@mx.custom_function
def swiglu(gate: mx.array, up: mx.array) -> mx.array:
    """`silu(gate) * up`, as in mlx-lm's MLPs."""
    return gate / (1 + exp(-gate)) * up


@swiglu.vjp
def _swiglu_vjp(primals: Any, cotangent: mx.array, _output: mx.array) -> tuple[mx.array, mx.array]:
    gate, up = primals
    sigmoid = 1 / (1 + exp(-gate))
    silu = gate * sigmoid
    return cotangent * up * (sigmoid + silu * (1 - sigmoid)), cotangent * silu


@mx.custom_function
def cross_entropy(logits: mx.array, targets: mx.array) -> mx.array:
    """Cross-entropy in nats (N,) of logits (N, V) against targets (N,)."""
    peak = logits.max(axis=-1, keepdims=True)
    total = exp(logits - peak).sum(axis=-1)
    picked = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0]
    return mx.log(total) + peak[:, 0] - picked


@cross_entropy.vjp
def _cross_entropy_vjp(primals: Any, cotangent: mx.array, _output: mx.array) -> tuple[mx.array, mx.array]:
    logits, targets = primals
    weights = exp(logits - logits.max(axis=-1, keepdims=True))
    weights = weights * (cotangent / weights.sum(axis=-1))[:, None]
    hit = mx.arange(logits.shape[-1]) == targets[:, None]
    return weights - mx.where(hit, cotangent[:, None], 0.0), mx.zeros_like(targets)
