"""Numbers that a measurement may hold: finite ones, and estimates within their intervals."""

from __future__ import annotations

from math import isfinite


def check_interval(of: str, name: str, value: float, low: float, high: float) -> None:
    """Refuse an estimate outside its interval, or ends that are not finite.

    Raises:
        ValueError: it names what the estimate is `of`.
    """
    check_finite(of, **{name: value, "low": low, "high": high})
    if not low - 1e-9 <= value <= high + 1e-9:
        raise ValueError(f"{of} has {name} {value:g} outside its interval [{low:g}, {high:g}]")


def check_finite(of: str, **numbers: float) -> None:
    """Refuse numbers that are not finite.

    Raises:
        ValueError: it names what they are `of`, and which one it is.
    """
    for name, value in numbers.items():
        if not isfinite(value):
            raise ValueError(
                f"{of} has {name} {value}: give a finite number; is something empty or constant?"
            )
