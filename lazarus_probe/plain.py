"""Plain Python values: what a report can keep, and what JSON can hold."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

# A level costs the recursion of each reader and writer; what is measured needs three or four.
DEEPEST = 20
LARGEST = 2**64
_HALVES = re.compile("[\ud800-\udfff]")


class NotPlainError(TypeError):
    """A value, or a key, of a type that no report can keep."""


def without_halves(text: str) -> str:
    r"""The text with each half of a surrogate pair spelled out, as in Python: `\ud800`. No file in UTF-8 holds one."""
    return _HALVES.sub(lambda half: f"\\u{ord(half[0]):04x}", text)


def storable(value: Any) -> Any:
    """Plain values with the halves of surrogate pairs spelled out in all of their texts."""
    if isinstance(value, dict):
        return {without_halves(key): storable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [storable(item) for item in value]
    return without_halves(value) if isinstance(value, str) else value


def plain(value: Any, name: str = "it", depth: int = 0) -> Any:
    """A value as plain Python numbers, texts, lists and dicts; NumPy's become those.

    A number that is not finite becomes its name, as in `nan`: JSON has none, and the writers make a null of it.

    Args:
        value: to keep.
        name: what errors call it, as in `details`.
        depth: how deep in there the value lies.

    Raises:
        NotPlainError: something that no report can keep, or a key that is neither a text nor an integer.
        ValueError: two keys that are one as text; it is nested more than `DEEPEST` deep; or it holds an
            integer beyond 64 bits: other readers of JSON get another number, and beyond 4,300 digits Python's own
            refuses the file.
    """
    if isinstance(value, Mapping | list | tuple) and depth > DEEPEST:
        raise ValueError(f"{name} is nested more than {DEEPEST} deep: give it flat, as a list of rows")
    if isinstance(value, Mapping):
        return _with_text_keys(value, name, depth)
    if isinstance(value, list | tuple):
        return [plain(item, name, depth + 1) for item in value]
    if isinstance(value, str):
        return without_halves(str(value))
    if type(value) is int:
        return _bounded(value, name)
    if type(value) is float and not math.isfinite(value):
        return str(value)
    if value is None or type(value) in (bool, float):
        return value
    if hasattr(value, "tolist") and type(listed := value.tolist()) is not type(value):
        return plain(listed, name, depth)
    if hasattr(value, "tolist") and isinstance(value, Real):  # NumPy's long double is a list of itself
        return float(value)
    raise NotPlainError(
        f"{reprlib.repr(value)} ({type(value).__name__}) cannot be kept on a report: give a number, string or list"
    )


def json_text(data: Any) -> str:
    """Data as indented JSON, which every reader takes; see `json_values`."""
    return json.dumps(json_values(data), indent=2, ensure_ascii=False, allow_nan=False)


def json_values(value: Any) -> Any:
    """Data as JSON holds it: arrays as lists, NumPy's numbers as Python's, NaN and infinities as null.

    Halves of surrogate pairs, which a file in UTF-8 cannot hold, are spelled out.
    """
    if isinstance(value, Mapping):
        return {without_halves(str(key)): json_values(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | range):
        return [json_values(item) for item in value]
    if hasattr(value, "tolist"):
        return json_values(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return without_halves(str(value)) if isinstance(value, Path | str) else value


def _with_text_keys(value: Mapping[Any, Any], name: str, depth: int) -> dict[str, Any]:
    items: dict[str, Any] = {}
    for key, item in value.items():
        if not isinstance(key, str) and type(key) is not int:
            raise NotPlainError(
                f"{name} has the key {key!r} ({type(key).__name__}): give texts, or layers' numbers"
            )
        text = without_halves(str(_bounded(key, name) if type(key) is int else key))
        if text in items:
            raise ValueError(
                f"{name} has the key {text!r} twice, once as a number: give each a text of its own"
            )
        items[text] = plain(item, name, depth + 1)
    return items


def _bounded(value: int, name: str) -> int:
    if abs(value) >= LARGEST:
        raise ValueError(
            f"{name} holds an integer of {value.bit_length()} bits: give it as a float or a text"
        )
    return value
