"""Paths as a user types them; unlike those of pathlib, none of these raises on what is typed."""

from __future__ import annotations

import os
from pathlib import Path

from lazarus_probe.plain import without_halves


def user_path(path: str | Path) -> Path:
    """The path with its `~` or `~name` replaced; as it is where there is no such user, as in a shell."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 - Path.expanduser raises where there is no such user


def check_utf8(path: str | Path, what: str = "path") -> None:
    """Whether MLX can open a path.

    Raises:
        ValueError: it cannot, as the path holds bytes that are no UTF-8.
    """
    if (text := without_halves(str(path))) != str(path):
        raise ValueError(f"the {what} {text} is no UTF-8, and MLX cannot open it; give another name")


def real_path(path: str | Path) -> Path:
    """The absolute path with links followed; a circle of links stays where it is entered."""
    return Path(os.path.realpath(user_path(path)))  # Path.resolve raises on a circle before Python 3.13
