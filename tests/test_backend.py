"""Which BLAS mlx multiplies with: each case in a process of its own, since it is chosen once."""

from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys

import pytest

from lazarus_probe import backend

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only mlx's Linux wheel needs a BLAS")
CHOSEN = (
    "from lazarus_probe.backend import choose_blas as choose; print(choose().path, choose().reason, sep='|')"
)
HIDDEN = "from lazarus_probe import backend; backend._candidates = lambda: iter(()); "


def run(code: str, blas: str | None = None) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name != "LAZARUS_BLAS"}
    env |= {} if blas is None else {"LAZARUS_BLAS": blas}
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)


def chosen(code: str = "", blas: str | None = None) -> tuple[str, str]:
    found = run(f"{code}\n{CHOSEN}", blas)
    assert found.returncode == 0, found.stderr
    path, reason = found.stdout.strip().splitlines()[-1].split("|")
    return path, reason


def has_blas() -> bool:
    return chosen()[1] == "found"


@LINUX
@pytest.mark.parametrize(
    "first",
    [
        "lazarus_probe.subject.subject",
        "lazarus_probe.hooks",
        "lazarus_probe.training.pretraining.pretrain",
        "lazarus_probe.introspection.lens.logit_lens",
        "lazarus_probe.backend",
    ],
)
def test_blas_is_chosen_before_mlx(first: str):
    """Whatever module is imported first, a BLAS is opened before mlx is, never found too late."""
    path, reason = chosen(f"import {first}, mlx.core")
    assert reason in ("found", "mlx's own (slow)")
    assert (reason == "found") == (path != "None")


@LINUX
def test_mlx_alone_is_too_late():
    """Where mlx was imported before this package, nothing is opened, and the reason says so."""
    assert chosen("import mlx.core, lazarus_probe") == ("None", "mlx's own: mlx was imported first")


@LINUX
def test_importing_the_package_opens_nothing():
    """The package by itself, as the plugin loads it in every session, opens no BLAS and imports no mlx."""
    found = run(
        "import sys, lazarus_probe, lazarus_probe.backend as b; "
        "print('mlx.core' in sys.modules, b.choose_blas.cache_info().misses)"
    )
    assert found.stdout.split() == ["False", "0"]


@LINUX
def test_off():
    """`off` opens none and is no cause for a warning."""
    path, reason = chosen("import lazarus_probe.hooks", "off")
    assert (path, reason) == ("None", "mlx's own, by LAZARUS_BLAS=off")
    loaded = run("from lazarus_probe.backend import warn_if_slow; warn_if_slow()", "off")
    assert (loaded.returncode, loaded.stderr) == (0, "")


@LINUX
def test_named():
    """A library named by the environment is the one that is opened."""
    if not has_blas():
        pytest.skip("no BLAS here that could be named")
    library, _ = chosen()
    assert chosen("import lazarus_probe.hooks", library) == (library, "named by LAZARUS_BLAS")


@LINUX
def test_bad_path_is_one_line():
    """A library that is not there is named in one line, with what would be right."""
    found = run(
        "from lazarus_probe.cli.lazarus import main; raise SystemExit(main(['backend']))", "/no/such.so"
    )
    assert found.returncode == 2
    assert found.stderr.startswith("error: LAZARUS_BLAS=/no/such.so cannot be opened")
    assert found.stderr.endswith("give a shared library or `off`\n")
    assert found.stderr.count("\n") == 1


@LINUX
def test_library_without_cblas_is_refused():
    """A library that is no BLAS is refused, rather than opened to no effect."""
    found = run("from lazarus_probe.backend import choose_blas; choose_blas()", ctypes.util.find_library("m"))
    assert found.returncode == 1
    assert "has no cblas_sgemm; give a BLAS with the C interface, or `off`" in found.stderr


@LINUX
def test_warning_where_none_is_found():
    """Without a BLAS, loading a model warns, and the warning says what to install."""
    found = run(
        HIDDEN + "import warnings; warnings.simplefilter('error'); from lazarus_probe.backend import *; "
        "backend.warn_if_slow()"
    )
    assert "BackendWarning: no fast BLAS for mlx was found" in found.stderr
    assert "pip install mkl" in found.stderr
    assert chosen(HIDDEN) == ("None", "mlx's own (slow)")


@LINUX
def test_loading_a_model_warns():
    """It is loading a model that warns, since that is where the time will go."""
    found = run(HIDDEN + "from lazarus_probe import Subject; Subject.load('organism')")
    assert found.stderr.count("BackendWarning") == 1


@LINUX
def test_products_are_as_fast_as_numpys():
    """Where a BLAS was found, mlx multiplies at half of NumPy's speed or more; its own reaches a 90th."""
    if not has_blas():
        pytest.skip("no BLAS was found here")
    code = "from lazarus_probe.cli.speed import mlx_speed, numpy_speed; print(mlx_speed() / numpy_speed())"
    # The best of three, since other work on the processor may hit one side only.
    assert max(float(run(f"import lazarus_probe; {code}").stdout) for _ in range(3)) >= 0.5


def test_threads_fit_the_widest_model():
    """A narrow model sets one thread; once a wide one is loaded, all cores are used again."""
    code = """
import os, ctypes
for name in ("MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.pop(name, None)
from lazarus_probe import backend
path = backend.choose_blas().path
if path is None or "mkl" not in path:
    print("no mkl")
else:
    threads = ctypes.CDLL(path).MKL_Get_Max_Threads
    seen = []
    for width in (128, 1024, 128):
        backend.fit_threads(width)
        seen.append(threads())
    print(seen[0] == 1, seen[1] == seen[2], seen[1] >= seen[0])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] in ("True True True", "no mkl")


@LINUX
@pytest.mark.parametrize(("intel", "first"), [(True, "libmkl"), (False, "libopenblas")])
def test_the_faster_of_two_is_taken_first(intel: bool, first: str, monkeypatch: pytest.MonkeyPatch):
    """MKL comes first on Intel's processors, and OpenBLAS, where it is installed, on others."""
    monkeypatch.setattr(backend, "_is_intel", lambda: intel)
    monkeypatch.setattr(backend, "mkl_libraries", lambda: ["libmkl_rt.so.3"])
    monkeypatch.setattr(backend, "openblas_libraries", lambda: iter(["libopenblas.so.0"]))
    candidates = list(backend._candidates())
    assert candidates[0].startswith(first)
    assert len(candidates) == 2


@pytest.mark.parametrize("first", ["lazarus_probe.hooks, mlx.core", "mlx.core, lazarus_probe"])
def test_float32_products_are_of_float32(first: str):
    """Whatever is imported first, mlx is told not to round to TF32; who asks for it keeps it, and reports say so."""
    device = "import mlx.core as mx; mx.default_device = lambda: mx.Device(mx.gpu)"
    code = f"import {first}, os; {device}; from lazarus_probe.reports.run import device"
    shown = "print(os.environ['MLX_ENABLE_TF32'], device(), sep='|')"
    plain = {name: value for name, value in os.environ.items() if name != "MLX_ENABLE_TF32"}
    for environment, expected in ((plain, "0|gpu"), ({**plain, "MLX_ENABLE_TF32": "1"}, "1|gpu with TF32")):
        found = subprocess.run(
            [sys.executable, "-c", f"{code}; {shown}"],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        assert found.stdout.strip() == expected
