"""Warnings that point at the code that asked, not at the place in this package that noticed."""

from __future__ import annotations

import sys
import warnings

# The package, and what of the standard library calls back into it.
SKIPPED = ("lazarus_probe", "functools", "contextlib")


def warn(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn, from the nearest caller outside of this package."""
    level, frame = 1, sys._getframe(0)
    while frame.f_back is not None and _module(frame) in SKIPPED:
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=level)


def _module(frame: object) -> str:
    names: dict[str, object] = frame.f_globals  # type: ignore[attr-defined]
    return str(names.get("__name__", "")).partition(".")[0]
