"""Which cases of a parametrized test run every time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def slow_except(values: Iterable[Any], *fast: Any) -> list[Any]:
    """The values of a parametrized test, all marked slow but those in `fast`, which stand for the others.

    Raises:
        ValueError: one of `fast` is no value, so that nothing would run in its place.
    """
    values = list(values)
    missing = [value for value in fast if value not in values]
    if missing or not fast:
        raise ValueError(f"fast cases {missing} are none of {values}")
    return [value if value in fast else pytest.param(value, marks=pytest.mark.slow) for value in values]
