"""Things in a file's place that no reader may open, or read to its end."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path


def _gone(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)


def fifo(path: Path) -> None:
    """A pipe that nobody writes to."""
    _gone(path)
    os.mkfifo(path)


def folder(path: Path) -> None:
    """A folder under a file's name."""
    _gone(path)
    path.mkdir()


def zeros(path: Path) -> None:
    """A link to a device that never ends."""
    _gone(path)
    path.symlink_to("/dev/zero")


def link_to_fifo(path: Path) -> None:
    """A link to a pipe."""
    _gone(path)
    pipe = path.with_name(f"{path.name}.pipe")
    os.mkfifo(pipe)
    path.symlink_to(pipe)


def loop(path: Path) -> None:
    """A link to itself."""
    _gone(path)
    path.symlink_to(path.name)


def listening(path: Path) -> None:
    """A socket."""
    _gone(path)
    before = Path.cwd()
    os.chdir(path.parent)  # a socket's path may have a hundred characters
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(path.name)
    finally:
        os.chdir(before)


def sparse(path: Path) -> None:
    """Twelve gigabytes of nothing."""
    _gone(path)
    path.touch()
    os.truncate(path, 12 << 30)


SPECIAL: tuple[Callable[[Path], None], ...] = (fifo, folder, zeros, link_to_fifo, loop, listening, sparse)
