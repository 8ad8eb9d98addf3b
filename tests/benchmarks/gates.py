"""Times the gate of an MLP beside its largest product: mlx's, NumPy's and the compiled polynomial of training.

python tests/benchmarks/gates.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from lazarus_probe.backend import choose_blas

ROWS, WIDTH, WIDE, REPEATS = 1536, 576, 1536, 15


def milliseconds(compute: Callable[[], Any]) -> float:
    """The least processor time of several runs."""
    import mlx.core as mx

    times = []
    for _ in range(REPEATS):
        began = time.process_time()
        mx.eval(compute())
        times.append(time.process_time() - began)
    return 1e3 * min(times)


def main() -> None:
    """Print each time, and its ratio to mlx's gate."""
    choose_blas()  # before mlx is imported
    import mlx.core as mx
    from mlx_lm.models.activations import swiglu

    from lazarus_probe.subject.fast_gates import numpy_swiglu
    from lazarus_probe.training import fast_exp

    gate, up = 2 * mx.random.normal((ROWS, WIDE)), mx.random.normal((ROWS, WIDE))
    x, weight = mx.random.normal((ROWS, WIDTH)), mx.random.normal((WIDE, WIDTH))
    polynomial = mx.compile(fast_exp.swiglu)
    mx.eval(gate, up, x, weight, polynomial(gate, up))
    own = milliseconds(lambda: swiglu(gate, up))
    for name, compute in (
        ("mlx", lambda: swiglu(gate, up)),
        ("NumPy", lambda: numpy_swiglu(gate, up)),
        ("polynomial", lambda: polynomial(gate, up)),
        ("product", lambda: x @ weight.T),
    ):
        taken = milliseconds(compute)
        print(f"{name:<12}{taken:6.1f} ms  {taken / own:.2f}")


if __name__ == "__main__":
    main()
