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
    return _marked_except(values, fast, pytest.mark.slow)


def nested_except(values: Iterable[Any], *fast: Any) -> list[Any]:
    """As `slow_except`, where the others run in `make nested`, and so on every change."""
    return _marked_except(values, fast, pytest.mark.nested)


def _marked_except(values: Iterable[Any], fast: tuple[Any, ...], mark: pytest.MarkDecorator) -> list[Any]:
    values = list(values)
    missing = [value for value in fast if value not in values]
    if missing or not fast:
        raise ValueError(f"fast cases {missing} are none of {values}")
    return [value if value in fast else pytest.param(value, marks=mark) for value in values]
