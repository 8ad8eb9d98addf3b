"""Versions of installed packages, this one included."""

from __future__ import annotations


def version_of(package: str) -> str:
    """The installed version of a package, as in `1.2.0`; `not installed` for this one in a checkout on the path."""
    from importlib.metadata import PackageNotFoundError, version  # takes 20 ms

    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
    except OSError:  # too many open files: no number is worth the run
        return "unknown"
