"""The kernels that the tests must pass under: instruction sets of MKL, an OpenBLAS, and mlx's own BLAS.

Float32 sums are rounded in another order by each. What decides is the environment of a new process; `loaded` says what
such a process really multiplied with, since a processor without AVX-512 takes another kernel and says nothing.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lazarus_probe.backend import mkl_libraries

ROOT = Path(__file__).parents[2]
CHOICES = ("LAZARUS_BLAS", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR", "OPENBLAS_CORETYPE")
OPENBLAS_PACKAGE = "libopenblas0-pthread"


@dataclass(frozen=True)
class Kernel:
    """One way to multiply.

    Attributes:
        name: as `--kernels` takes it.
        environment: what chooses it; NumPy's own OpenBLAS is given the same instruction set.
        module: the library, or the start of its name, that a process under it must have loaded.
    """

    name: str
    environment: Mapping[str, str]
    module: str


@dataclass(frozen=True)
class Loaded:
    """What a process multiplied with.

    Attributes:
        modules: file names of the libraries that were loaded for it.
        version: in the library's own words.
        numpy: the instruction set of NumPy's OpenBLAS.
    """

    modules: tuple[str, ...]
    version: str
    numpy: str


# MKL loads one module for each instruction set: the one that is there is the one that multiplies.
MKL_MODULES = {"SSE4_2": "libmkl_mc3.", "AVX2": "libmkl_avx2.", "AVX512": "libmkl_avx512."}
OPENBLAS_CORES = {"SSE4_2": "Nehalem", "AVX2": "Haswell", "AVX512": "SkylakeX"}
NAMES = (*MKL_MODULES, "mkl", "openblas", "off")


def kernel(name: str) -> Kernel:
    """The kernel of a name.

    Raises:
        ValueError: there is no such kernel.
        LookupError: it is not installed here; the message says what to install.
    """
    if name in MKL_MODULES:
        settings = {
            "LAZARUS_BLAS": mkl(),
            "MKL_ENABLE_INSTRUCTIONS": name,
            "OPENBLAS_CORETYPE": OPENBLAS_CORES[name],
        }
        return Kernel(name, settings, MKL_MODULES[name])
    if (
        name == "mkl"
    ):  # as MKL chooses by itself; on AMD's processors it does not take an instruction set's name
        return Kernel(name, {"LAZARUS_BLAS": mkl()}, "libmkl_")
    if name == "openblas":
        library = system_openblas()
        return Kernel(name, {"LAZARUS_BLAS": str(library)}, library.resolve().name)
    if name == "off":
        return Kernel(name, {"LAZARUS_BLAS": "off"}, "libblas")
    raise ValueError(f"there is no kernel {name}; there are {', '.join(NAMES)}")


def mkl() -> str:
    """The `mkl` wheel's library.

    Raises:
        LookupError: it is not installed.
    """
    for library in mkl_libraries():
        return library
    raise LookupError("no MKL in this environment: pip install mkl")


def system_openblas(folder: Path | None = None) -> Path:
    """The system's OpenBLAS; one in another place is named by `LAZARUS_BLAS` as for any run.

    Raises:
        LookupError: none is installed.
    """
    named = os.environ.get("LAZARUS_BLAS", "")
    if "openblas" in Path(named).name:
        return Path(named)
    folder = folder or Path("/usr/lib") / f"{platform.machine()}-linux-gnu"
    for library in sorted(folder.glob("openblas-*/libopenblas*.so*")):
        return library
    raise LookupError(f"no OpenBLAS in {folder}: apt-get install {OPENBLAS_PACKAGE}")


def environment(of: Kernel) -> dict[str, str]:
    """The environment of a process under a kernel, without what would choose another, on one thread."""
    own = {name: value for name, value in os.environ.items() if name not in CHOICES}
    threads = dict.fromkeys(("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    path = os.pathsep.join(filter(None, (str(ROOT), own.get("PYTHONPATH"))))
    return {**own, **threads, "PYTHONPATH": path, **of.environment}


def loaded(of: Kernel) -> Loaded:
    """Multiply once in a process under a kernel, and say with what.

    Raises:
        LookupError: the processor lacks the instructions, or the process multiplied with something else; the message
            says with what.
        RuntimeError: the process failed.
    """
    command = [sys.executable, str(Path(__file__).with_name("loaded.py"))]
    done = subprocess.run(command, env=environment(of), capture_output=True, text=True, check=False)
    if done.returncode == -signal.SIGILL:
        raise LookupError(f"this processor does not have the instructions of {of.name}")
    if done.returncode:
        raise RuntimeError(f"a product under {of.name} failed: {done.stderr.strip()[-500:]}")
    answer = json.loads(done.stdout.splitlines()[-1])
    found = Loaded(tuple(answer["modules"]), answer["version"], answer["numpy"])
    strangers = [name for name in found.modules if of.name == "off" and not name.startswith("libblas")]
    if strangers or not any(name.startswith(of.module) for name in found.modules):
        raise LookupError(
            f"under {of.name} mlx multiplied with {', '.join(found.modules) or 'nothing known'}"
        )
    return found
