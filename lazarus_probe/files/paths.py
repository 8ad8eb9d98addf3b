"""Paths as a user types them; unlike pathlib's functions, none of these raises on unusual input."""

from __future__ import annotations

import os
from pathlib import Path

from lazarus_probe.plain import without_halves


def user_path(path: str | Path) -> Path:
    """The path with `~` or `~name` expanded; unchanged if there is no such user, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such user


def check_utf8(path: str | Path, name: str = "path") -> None:
    """Check that MLX can open a path.

    Raises:
        ValueError: the path contains bytes that are not UTF-8.
    """
    if (text := without_halves(str(path))) != str(path):
        raise ValueError(f"the {name} {text} is not UTF-8, and MLX cannot open it; give another name")


def real_path(path: str | Path) -> Path:
    """The absolute path with links resolved; a cycle of links is left unresolved."""
    return Path(os.path.realpath(user_path(path)))  # Path.resolve raises on a circle before Python 3.13
