"""Which BLAS the Linux CPU build of mlx multiplies with, chosen before mlx is first imported.

The wheel links a reference BLAS, about 1/90th of what NumPy reaches in the same process. A library opened
with `RTLD_GLOBAL` before mlx is loaded answers for its symbols instead. Nothing here imports mlx.
"""

from __future__ import annotations

import ctypes
import os
import platform
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import suppress
from ctypes.util import find_library
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import gettempdir

from lazarus_probe.warn import warn

VARIABLE = "LAZARUS_BLAS"
PRECISION_VARIABLE = "MLX_ENABLE_TF32"
THREAD_VARIABLES = ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
NARROW = 512

_widest = 0

SLOW = "mlx's own (slow)"
ADVICE = (
    "no fast BLAS for mlx was found: matrix products run at about 1/90th of NumPy's speed. Install one with "
    "`pip install mkl` or `apt-get install libopenblas0-pthread`, "
    f"name one with {VARIABLE}=/path/to/library.so, or silence this with {VARIABLE}=off"
)


class BackendWarning(UserWarning):
    """The computation works, but slower than it could."""


@dataclass(frozen=True)
class Blas:
    """What mlx's CPU matrix products run on: a library's path, or the reason why none was opened."""

    path: str | None
    reason: str

    def __str__(self) -> str:
        return f"{Path(self.path).name} ({self.reason})" if self.path else self.reason


@cache
def choose_blas() -> Blas:
    """Open a BLAS for mlx, once a process; later calls return what the first one did.

    `LAZARUS_BLAS` overrides: a path opens that library, `off` opens none. On macOS mlx uses Accelerate or
    Metal and nothing is opened.

    Raises:
        OSError: the library named by `LAZARUS_BLAS` cannot be opened.
    """
    wanted = os.environ.get(VARIABLE, "auto")
    if sys.platform != "linux":
        return Blas(None, "mlx's own")
    if wanted == "off":
        return Blas(None, f"mlx's own, by {VARIABLE}=off")
    if "mlx.core" in sys.modules:
        return Blas(None, "mlx's own: mlx was imported first")
    if wanted != "auto":
        return _open_named(wanted)
    for path in _candidates():
        if _opens(path):
            return Blas(path, "found")
    return Blas(None, SLOW)


def keep_float32() -> None:
    """Have mlx multiply float32 numbers in float32, unless the environment says otherwise.

    By default it rounds them to TF32 on NVIDIA's GPUs and on Apple's from the M5 on: 11 bits, and products off by
    3e-4 (ml-explore/mlx#3860), where hooks, sweeps and self-checks hold to 1e-5.
    """
    os.environ.setdefault(PRECISION_VARIABLE, "0")


def full_float32() -> bool:
    """Whether float32 products are those of float32 on every device."""
    return os.environ.get(PRECISION_VARIABLE) == "0"


def find_temporary_folder() -> None:
    """Name another folder where TMPDIR names none: mlx compiles kernels there, and ends in an error of C++ without."""
    wanted = os.environ.get("TMPDIR")
    if wanted is not None and not os.path.isdir(wanted):  # noqa: PTH112 - a Path of NUL would raise
        with suppress(FileNotFoundError):  # nowhere can anything be written
            os.environ["TMPDIR"] = gettempdir()


def fit_threads(width: int) -> None:
    """Let the opened BLAS use one thread for models narrower than 512, and all cores from then on for wider ones.

    The products of a narrow model take less time than waking a second thread, which on a busy machine costs several
    times the work. `MKL_NUM_THREADS`, `OPENBLAS_NUM_THREADS` or `OMP_NUM_THREADS`, where set, decide instead.
    """
    path = choose_blas().path
    if path is None or any(name in os.environ for name in THREAD_VARIABLES):
        return
    library = ctypes.CDLL(path)
    setter = getattr(library, "MKL_Set_Num_Threads", None) or getattr(
        library, "openblas_set_num_threads", None
    )
    if setter is not None:
        global _widest
        _widest = max(_widest, width)
        setter(ctypes.c_int(1 if _widest < NARROW else os.cpu_count() or 1))


def warn_if_slow() -> None:
    """Say once what to install where mlx was left with the slow BLAS; called when a model is loaded."""
    if choose_blas().reason == SLOW:
        warn(ADVICE, BackendWarning)


def _open_named(path: str) -> Blas:
    try:
        library = ctypes.CDLL(path, mode=os.RTLD_GLOBAL | os.RTLD_NOW)
    except OSError as error:
        raise OSError(
            f"{VARIABLE}={path} cannot be opened ({error}); give a shared library or `off`"
        ) from None
    if not hasattr(library, "cblas_sgemm"):
        raise OSError(f"{VARIABLE}={path} has no cblas_sgemm; give a BLAS with the C interface, or `off`")
    return Blas(path, f"named by {VARIABLE}")


def _opens(path: str) -> bool:
    try:
        if not hasattr(ctypes.CDLL(path), "cblas_sgemm"):
            return False
        ctypes.CDLL(path, mode=os.RTLD_GLOBAL | os.RTLD_NOW)
    except OSError:
        return False
    return True


def _candidates() -> Iterator[str]:
    """Libraries that may serve, the fastest first: of the `mkl` wheel's and the system's OpenBLAS.

    On AMD's processors OpenBLAS multiplies up to 1.6 times as fast as MKL (`tests/benchmarks/products.py`).
    """
    if _is_intel():
        yield from mkl_libraries()
        yield from openblas_libraries()
    else:
        yield from openblas_libraries()
        yield from mkl_libraries()


def mkl_libraries() -> list[str]:
    """The `mkl` wheel's, the newest first."""
    lib = Path(sysconfig.get_path("data")) / "lib"
    return sorted(map(str, lib.glob("libmkl_rt.so*")), reverse=True)


def openblas_libraries() -> Iterator[str]:
    """The system's, those with threads first."""
    multiarch = Path("/usr/lib") / f"{platform.machine()}-linux-gnu"
    for folder in ("openblas-pthread", "openblas-openmp", "openblas-serial", "."):
        yield from map(str, sorted((multiarch / folder).glob("libopenblas*.so*")))
    if library := find_library("openblas"):
        yield library


def _is_intel() -> bool:
    try:
        return "GenuineIntel" in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
