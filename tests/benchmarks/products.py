"""Times products of SmolLM2's shapes with every BLAS that is installed, in turns, one thread each.

python tests/benchmarks/products.py
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from lazarus_probe.backend import mkl_libraries, openblas_libraries

# Rows, inner and outer size: an MLP in both directions, a projection of attention, the unembedding.
SHAPES = ((504, 576, 1536), (504, 1536, 576), (504, 576, 576), (37, 576, 49152))
ROUNDS = 5
CODE = """
import json, sys, time
from lazarus_probe.backend import choose_blas
choose_blas()
import mlx.core as mx
times = []
for rows, inner, outer in json.loads(sys.argv[1]):
    x, weight = mx.random.normal((rows, inner)), mx.random.normal((outer, inner))
    mx.eval(x, weight, x @ weight.T)
    repeats = []
    for _ in range(5):
        began = time.process_time()
        mx.eval(x @ weight.T)
        repeats.append(time.process_time() - began)
    times.append(min(repeats))
print(json.dumps(times))
"""


def seconds(library: str) -> list[float]:
    """Processor time of each shape's product in a new process."""
    threads = dict.fromkeys(("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(SHAPES)],
        env={**os.environ, **threads, "LAZARUS_BLAS": library},
        capture_output=True,
        text=True,
        check=True,
    )
    times: list[float] = json.loads(done.stdout)
    return times


def main() -> int:
    """Print GFLOP/s by library and shape, the best of all rounds."""
    libraries = [*mkl_libraries()[:1], *list(openblas_libraries())[:1]]
    rounds = [[seconds(library) for library in libraries] for _ in range(ROUNDS)]
    print("GFLOP/s", *(f"{rows}x{inner}x{outer}" for rows, inner, outer in SHAPES), sep="\t")
    for row, library in enumerate(libraries):
        best = [min(times[row][shape] for times in rounds) for shape in range(len(SHAPES))]
        rates = [2e-9 * a * b * c / time for (a, b, c), time in zip(SHAPES, best, strict=True)]
        print(Path(library).name, *(f"{rate:.0f}" for rate in rates), sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main())
