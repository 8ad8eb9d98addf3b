"""How fast matrix products are, in mlx and in NumPy: whether the BLAS that was chosen is at work."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter
from typing import Any


def mlx_speed(size: int = 1024) -> float:
    """GFLOP/s of a float32 product of two square matrices in mlx, the best of five."""
    import mlx.core as mx

    left, right = (mx.random.normal((size, size), key=mx.random.key(seed)) for seed in (0, 1))
    mx.eval(left, right)
    return _best(lambda: mx.eval(left @ right), size)


def numpy_speed(size: int = 1024) -> float:
    """GFLOP/s of a float32 product of two square matrices in NumPy, the best of five."""
    import numpy as np

    rng = np.random.default_rng(0)
    left, right = (rng.standard_normal((size, size), np.float32) for _ in range(2))
    return _best(lambda: left @ right, size)


def _best(product: Callable[[], Any], size: int) -> float:
    product()  # threads and buffers are made in the first
    return 2e-9 * size**3 / min(_seconds(product) for _ in range(5))


def _seconds(action: Callable[[], Any]) -> float:
    start = perf_counter()
    action()
    return perf_counter() - start
