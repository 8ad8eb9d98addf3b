"""Versions of installed packages, this one included, and of files under git."""

from __future__ import annotations

from functools import cache
from pathlib import Path


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


def commit_of(file: Path) -> str | None:
    """The commit that a file is at, as in `1a2b3c4d5e6f`, with `-dirty` where its folder has changes since.

    None where git does not keep the file, or is not there.
    """
    if not _git(file.parent, "ls-files", "--", file.name):
        return None
    commit = _git(file.parent, "rev-parse", "--short=12", "HEAD")
    changed = commit and _git(file.parent, "status", "--porcelain", "--untracked-files=no", "--", ".")
    return f"{commit}-dirty" if changed else commit


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints; None where it fails or prints nothing."""
    import os
    import subprocess

    # No lock is taken: a command of the user's may be at work in the same repository.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - git
            command, capture_output=True, text=True, timeout=10, check=True, env=environment
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None
