"""Directions of the residual stream in files, so that one command can steer with, ablate or compare those of another.

Files are untrusted: nothing in them is unpickled, and the sizes that they claim are checked.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.files.arrays import read_arrays
from lazarus_probe.files.damage import DAMAGED
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.reading import check_regular
from lazarus_probe.files.whole_files import whole_file

SUFFIXES = (".npz", ".json")
# Most bytes of a file, packed or not: a direction has a few thousand numbers.
LARGEST = 2**28
OWN = (
    "direction",
    "layer",
    "name",
    "label_positive",
    "label_negative",
    "model_id",
    "method",
    "accuracy",
    "separation",
)


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction of the residual stream, and its origin.

    Attributes:
        vector: (D,) float32, in the units of the activations, from the negative label to the positive.
        layer: the block after which it was read.
        name: of the direction.
        label_positive: the label that it points to.
        label_negative: the label that it points away from.
        model_id: the model that it was read in.
        method: of the fit.
        accuracy: of separating the labels along it.
        separation: of the labels along it, in standard deviations.
        extra: further saved values: numbers, texts, or lists of either.

    Raises:
        ValueError: a vector that is not a direction, a layer below 0, or an extra key that is one of the others.

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.introspection import Direction
        >>> from lazarus_probe.sites import resid_post
        >>> rows = collect(subject, ["7*8=", "7+8="], [resid_post(4)])[resid_post(4)]
        >>> direction = Direction(rows[0] - rows[1], layer=4, label_positive="multiply", label_negative="add")
        >>> bool(rows[0] @ direction.unit > rows[1] @ direction.unit)
        True
    """

    vector: NDArray[np.float32]
    layer: int
    name: str = ""
    label_positive: str = ""
    label_negative: str = ""
    model_id: str = ""
    method: str = ""
    accuracy: float | None = None
    separation: float | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        with np.errstate(over="ignore", under="ignore"):
            vector = np.asarray(self.vector).astype(np.float32)
        if vector.ndim != 1 or not vector.size:
            raise ValueError(f"direction has shape {vector.shape}; give one number for each coordinate")
        if not np.isfinite(vector).all() or not vector.any():
            raise ValueError("direction has numbers that are not finite in float32, or only zeros")
        if self.layer < 0:
            raise ValueError(f"layer is {self.layer}; layers are counted from 0")
        taken = sorted(set(self.extra) & set(OWN))
        if taken:
            raise ValueError(f"extra has the key {taken[0]!r}, which is a field of its own")
        object.__setattr__(self, "vector", vector)

    @property
    def norm(self) -> float:
        """The norm of the vector."""
        return float(np.linalg.norm(self.vector.astype(np.float64)))

    @property
    def unit(self) -> NDArray[np.float32]:
        """(D,) the unit vector."""
        return np.asarray(self.vector.astype(np.float64) / self.norm, dtype=np.float32)

    def as_dict(self) -> dict[str, Any]:
        """The keys of a file, without those that are None."""
        values = {"direction": self.vector, **{key: getattr(self, key) for key in OWN[1:]}, **self.extra}
        return {key: value for key, value in values.items() if value is not None}


def read_direction(path: str | Path) -> Direction:
    """A direction from a `.npz` file, or from a `.json` file with the same keys.

    It needs `direction` and `layer`. `positive_prompt` and `negative_prompt` are the default labels, and the file's
    name is the default name.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is damaged, too large, or not a direction.

    Example:
        >>> from lazarus_probe.introspection import Direction, read_direction, write_direction
        >>> write_direction("direction.npz", Direction(np.ones(128), layer=4, label_positive="multiply"))
        >>> direction = read_direction("direction.npz")
        >>> direction.vector.shape, direction.layer, direction.label_positive
        ((128,), 4, 'multiply')
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} is not a direction: its name must end in .npz or .json")
    if check_regular(path) > LARGEST:
        raise ValueError(f"{path} is not a direction: it is larger than {LARGEST >> 20} MiB")
    try:
        if path.suffix == ".npz":
            arrays = read_arrays(path, LARGEST)
            values = {key: array if key == "direction" else array.tolist() for key, array in arrays.items()}
        else:
            values = read_json(path, LARGEST)
        if not isinstance(values, dict):
            raise ValueError("it holds no JSON object")
        return _direction(values, path.stem)
    except DAMAGED as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(f"{path} is not a direction: {reason}") from None


def write_direction(path: str | Path, direction: Direction) -> None:
    """Write a direction to a `.npz` or `.json` file; the write is atomic.

    Missing folders are created. None is left out, and in JSON numbers that are not finite as well. NumPy drops NULs at
    the end of a text.

    Raises:
        OSError: the file cannot be written.
        ValueError: another suffix, or extras other than numbers, texts and arrays of them.

    Example:
        >>> from lazarus_probe import collect
        >>> from lazarus_probe.introspection import Direction, read_direction, write_direction
        >>> from lazarus_probe.sites import resid_post
        >>> rows = collect(subject, ["7*8=", "7+8="], [resid_post(4)])[resid_post(4)]
        >>> write_direction("operation.json", Direction(rows[0] - rows[1], layer=4, model_id=subject.name))
        >>> read_direction("operation.json").model_id
        'organism'
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path}: the name of a direction's file must end in .npz or .json")
    arrays = {key: _array(key, value) for key, value in direction.as_dict().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as aside:
        _pack(aside, arrays) if path.suffix == ".npz" else aside.write_text(_text(arrays), encoding="utf-8")


def split_spec(spec: str) -> tuple[Path, float | None]:
    """The file and the coefficient of `FILE[:c]`; None without a coefficient.

    A colon belongs to the file's name if that file exists, or if the part before it does not end in a known suffix.

    Raises:
        ValueError: no file, or a coefficient that is not a finite number.
    """
    name, colon, number = spec.rpartition(":")
    if not colon or Path(name).suffix not in SUFFIXES or Path(spec).is_file():
        name, number = spec, ""
    if not name:
        raise ValueError(f"{spec!r} names no file; give FILE, or FILE:COEFFICIENT")
    if name == spec:
        return Path(spec), None
    try:
        coefficient = float(number)
    except ValueError:
        coefficient = math.nan
    if not math.isfinite(coefficient):
        raise ValueError(f"{spec!r}: {number!r} is not a coefficient; give a number, as in {name}:1.5")
    return Path(name), coefficient


def _direction(values: Mapping[str, Any], stem: str) -> Direction:
    for key in ("direction", "layer"):
        if values.get(key) is None:
            raise ValueError(f"it has no {key!r}; its keys are {', '.join(sorted(values)) or 'none'}")
    vector = np.asarray(values["direction"])
    if vector.dtype.kind not in "fiu":
        raise ValueError(f"its direction is of type {vector.dtype}; numbers are needed")
    return Direction(
        vector,
        _layer(values["layer"]),
        _label(values, "name") or stem,
        _label(values, "label_positive", "positive_prompt"),
        _label(values, "label_negative", "negative_prompt"),
        _label(values, "model_id"),
        _label(values, "method"),
        _number(values, "accuracy"),
        _number(values, "separation"),
        {key: value for key, value in values.items() if key not in OWN and value is not None},
    )


def _layer(value: Any) -> int:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    is_integer = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not is_integer:
        raise ValueError(f"its layer is {value!r}; a whole number is needed")
    return int(value)


def _label(values: Mapping[str, Any], *keys: str) -> str:
    value = next((values[key] for key in keys if values.get(key) is not None), "")
    if not isinstance(value, str):
        raise ValueError(f"its {keys[0]} is {str(value)[:40]}; a text is needed")
    return value


def _number(values: Mapping[str, Any], key: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"its {key} is {str(value)[:40]}; a number is needed")
    return float(value) if math.isfinite(value) else None


def _array(key: str, value: Any) -> NDArray[Any]:
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        array = np.asarray(None)
    if array.dtype.kind not in "biufU":
        raise ValueError(f"{key!r} is {str(value)[:40]}; numbers, texts and arrays of them can be saved")
    return array


def _pack(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    # Not np.savez, as its own arguments could not be keys.
    with zipfile.ZipFile(path, "w") as archive:
        for key, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{key}.npy"), "w") as file:
                np.lib.format.write_array(file, array, allow_pickle=False)


def _text(arrays: Mapping[str, NDArray[Any]]) -> str:
    plain = {key: array.tolist() for key, array in arrays.items()}
    return json.dumps({key: value for key, value in plain.items() if _finite(value)}, allow_nan=False) + "\n"


def _finite(value: Any) -> bool:
    if isinstance(value, list):
        return all(map(_finite, value))
    return not isinstance(value, float) or math.isfinite(value)
