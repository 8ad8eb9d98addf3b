"""Multiplies two matrices with mlx and prints, as JSON, which libraries of this process did it. Linux only."""

from __future__ import annotations

import ctypes
import json
import re
from pathlib import Path

from lazarus_probe.backend import Blas, choose_blas

BLAS = choose_blas()  # before mlx is imported

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
from threadpoolctl import threadpool_info  # noqa: E402

# MKL's modules that multiply, by instruction set; an OpenBLAS; the reference BLAS that mlx's wheel brings.
MODULES = re.compile(r"libmkl_(def|mc3|avx\w*)\.|libopenblas|libblas")
LENGTH = 198  # of the buffer that MKL's documentation uses for its version


def modules() -> list[str]:
    """The libraries of this process that can have multiplied: mlx's own only where no other was opened."""
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    names = sorted(name for name in (Path(path).name for path in mapped) if MODULES.match(name))
    return [name for name in names if BLAS.path is None or not name.startswith("libblas")]


def version(blas: Blas) -> str:
    """What the opened library says of itself."""
    if blas.path is None:
        return "reference BLAS of mlx"
    library = ctypes.CDLL(blas.path)
    if hasattr(library, "mkl_get_version_string"):
        text = ctypes.create_string_buffer(LENGTH)
        library.mkl_get_version_string(text, LENGTH)
        return "MKL " + text.value.decode().split("Version ")[1].split("-")[0]
    if hasattr(library, "openblas_get_config"):
        library.openblas_get_config.restype = ctypes.c_char_p
        library.openblas_get_corename.restype = ctypes.c_char_p
        number = library.openblas_get_config().decode().split()[1]
        return f"OpenBLAS {number} {library.openblas_get_corename().decode()}"
    return Path(blas.path).name


def numpys() -> str:
    """The instruction set of the OpenBLAS that NumPy brings."""
    of_numpy = [each for each in threadpool_info() if "scipy_openblas" in each["filepath"]]
    return ", ".join(sorted({f"{each['architecture']}" for each in of_numpy})) or "unknown"


if __name__ == "__main__":
    rows = mx.random.normal((64, 64), key=mx.random.key(0))
    product = np.array(mx.matmul(rows, rows, stream=mx.cpu), np.float64)
    exact = np.array(rows, np.float64) @ np.array(rows, np.float64)
    assert np.abs(product - exact).max() < 1e-3, "a product is wrong"
    answer = {"modules": modules(), "version": version(BLAS), "numpy": numpys()}
    print(json.dumps(answer))
