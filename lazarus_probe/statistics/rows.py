"""Checks that no row lacks its label, score or unit, where they enter.

A NaN is taken for a class of its own, whose members no probe gets right; in a list with text NumPy writes it out as the
class "nan". So what is missing is refused by name before anything is made of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.bounded import Units
from lazarus_probe.statistics.clusters import Floats, as_names

LABEL = "a class, or a finite number"
NAME = "a name or number"
SCORE = "a finite number"


def present(values: Any, name: str, right: str = LABEL) -> NDArray[Any]:
    """The values of N rows as an array, if none of them is missing.

    Args:
        values: (N,) what was given, such as labels. A list is looked at before an array is made of it.
        name: of the argument, for the error.
        right: what each row should be given instead.

    Raises:
        ValueError: a row is given None, NaN or an infinite number.
    """
    if hasattr(values, "tolist") and not isinstance(
        values, np.ndarray
    ):  # an array of mlx, a column of a table
        values = values.tolist()
    row = _first_missing(values)
    if row is not None:
        value = values[row]
        raise ValueError(f"{name}[{row}] is {value}: give {right} for each row, or leave that row out")
    return as_names(values) if right == NAME else np.asarray(values)


def numbers(values: Any, name: str) -> Floats:
    """The values of N rows as float64, if each is a finite number.

    Raises:
        ValueError: as `present`, or a row that is no number.
    """
    rows = present(values, name, SCORE)
    try:
        return rows.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds {_first_text(rows.tolist())!r}: give {SCORE} for each row") from None


def present_units(units: Units, name: str = "units") -> Units:
    """The independent units of N rows, of one kind or of several by name, if none is missing.

    Raises:
        ValueError: as `present`; the kind is named where there are several.
    """
    if not isinstance(units, Mapping):
        return present(units, name, NAME)
    return {kind: present(names, f"{name} {kind!r}", NAME) for kind, names in units.items()}


def _first_missing(values: Any) -> int | None:
    if isinstance(values, np.ma.MaskedArray):
        return _first_false(~np.ma.getmaskarray(values), _first_missing(np.ma.getdata(values)))
    if isinstance(values, np.ndarray) and values.dtype.kind in "fcmM":
        return _first_false(np.isfinite(values))
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return None
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str | bytes):
        return None
    return next((row for row, value in enumerate(values) if _missing(value)), None)


def _first_false(there: NDArray[Any], other: int | None = None) -> int | None:
    """The first row of which not all is there, or another that comes before it."""
    bad = np.flatnonzero(~there.all(axis=tuple(range(1, there.ndim)))).tolist() if there.ndim else []
    return min([*bad[:1], *([] if other is None else [other])], default=None)


def _missing(value: Any) -> bool:
    if value is None or value is np.ma.masked:
        return True
    if hasattr(value, "item") and getattr(value, "size", None) == 1 and not isinstance(value, np.generic):
        value = value.item()  # an array of one number
    if isinstance(value, np.datetime64 | np.timedelta64):
        return bool(np.isnat(value))
    return isinstance(value, float | np.floating | Decimal) and not isfinite(value)


def _first_text(rows: Iterable[Any]) -> Any:
    for value in rows:
        try:
            float(value)
        except (TypeError, ValueError):
            return value
    return rows
