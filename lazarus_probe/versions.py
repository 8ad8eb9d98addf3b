"""Versions of installed packages, this one included."""

from __future__ import annotations

from functools import cache


def version_of(package: str) -> str:
    """The installed version of a package, as in `1.2.0`; `not installed` for this one in a checkout on the path."""
    from importlib.metadata import PackageNotFoundError

    try:
        return _installed(package)
    except PackageNotFoundError:
        return "not installed"
    except OSError:  # too many open files: no number is worth the run
        return "unknown"


@cache
def _installed(package: str) -> str:
    """What its metadata says, read once: a run asks for eight packages at its start and at its end."""
    from importlib.metadata import version  # takes 20 ms

    return version(package)
