"""The command lines that test claims: those of the package, whatever folder it runs in, or files of one's own."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lazarus_probe.claims.library import LibraryClaim


def pytest_command(
    chosen: Sequence[LibraryClaim], models: Sequence[str], reports: Path, more: Sequence[str] = ()
) -> list[str]:
    """The command line that tests some claims of the package, whatever folder it runs in.

    Args:
        chosen: the claims.
        models: to test.
        reports: folder to write the run to.
        more: options of pytest.
    """
    from lazarus_probe.claims.library import library_folder

    return [
        *(sys.executable, "-m", "pytest", f"--confcutdir={library_folder()}"),
        *(f"{item.file}::{item.test}" for item in chosen),
        *("-q", "--no-header", "-p", "no:cacheprovider"),
        # What the folder at hand says of its own tests is not for these.
        *("-c", os.devnull, f"--rootdir={Path.cwd()}", "-o", "console_output_style=classic"),
        *("--import-mode=importlib", *_options(models, reports), *more),
    ]


def own_command(
    files: Sequence[str], models: Sequence[str], reports: Path, more: Sequence[str] = ()
) -> list[str]:
    """The command line that tests claims of one's own, under the settings of the folder at hand.

    Args:
        files: as pytest takes them: files, folders, or tests by name.
        models: to test.
        reports: folder to write the run to.
        more: options of pytest.
    """
    return [sys.executable, "-m", "pytest", *files, "-q", "--no-header", *_options(models, reports), *more]


def _options(models: Sequence[str], reports: Path) -> list[str]:
    # Joined by `=`: pytest takes any argument that is a path for tests, and looks for its rootdir above all of them.
    return [*(f"--probe-model={model}" for model in models), f"--probe-report={reports}"]
