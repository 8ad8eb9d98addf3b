"""Errors that say themselves what to do need no traceback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[1]


def one_line(item: pytest.Item, error: pytest.ExceptionInfo[Any]) -> str | None:
    """`file:line: message` for what this package refused in a claim's test; None where a traceback is due.

    Refused is: an exception whose class is this package's own, or a ValueError or IndexError raised (not
    passed on) by this package's code. The line is the last one of the test's own file. All other errors
    keep their traceback, and `--full-trace` brings it back for these too.
    """
    if item.get_closest_marker("claim") is None or item.config.getoption("fulltrace", False):
        return None
    if not _is_refusal(error):
        return None
    lines = [entry.lineno + 1 for entry in error.traceback if Path(entry.path) == item.path]
    line = lines[-1] if lines else (item.location[1] or 0) + 1
    return f"{item.location[0]}:{line}: {' '.join(str(error.value).split())}"


def _is_refusal(error: pytest.ExceptionInfo[Any]) -> bool:
    if error.type.__module__.partition(".")[0] == PACKAGE.name:
        return True
    own = Path(error.traceback[-1].path).is_relative_to(PACKAGE)
    return own and issubclass(error.type, ValueError | IndexError)
