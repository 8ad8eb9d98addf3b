"""The header of a safetensors file, checked against the file before any tensor is read."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.reading import MIB, open_regular

MOST_HEADER = 100 * MIB  # the format's own limit
MOST_TENSORS = 200_000  # the largest mixtures of experts have 100,000
MOST_AXES = 8
BITS = {
    **dict.fromkeys(("C64", "F64", "I64", "U64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E4M3", "F8_E5M2", "F8_E8M0"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}


@dataclass(frozen=True)
class TensorEntry:
    """One tensor of a file.

    Attributes:
        dtype: in the format's notation, such as F32.
        shape: of the tensor.
        start: offset of its first byte, from the end of the header.
        stop: offset after its last byte.
    """

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Its number of elements."""
        return math.prod(self.shape)


class TruncatedError(ValueError):
    """A file is shorter or longer than its header says."""


def read_entries(path: str | Path) -> dict[str, TensorEntry]:
    """The tensors of a safetensors file by name, as described by its header.

    Raises:
        OSError: it cannot be read, or is not a regular file.
        TruncatedError: it is shorter or longer than its header says.
        ValueError: its header is invalid or inconsistent; the message names the tensor but not the file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or length > size - 8:
            raise TruncatedError("its header is incomplete")
        if length > MOST_HEADER:
            raise ValueError(f"its header is larger than {MOST_HEADER // MIB} MiB")
        raw = file.read(length)
    if raw.count(b'"data_offsets"') > MOST_TENSORS:
        raise ValueError(f"it has more than {MOST_TENSORS:,} tensors")
    try:
        header = parse_json(raw, once=True)
    except ValueError as error:
        raise ValueError(f"its header is not that of a safetensors file ({error})") from None
    if not isinstance(header, dict):
        raise ValueError("its header is not that of a safetensors file")
    _check_metadata(header.pop("__metadata__", {}))
    entries = {name: _entry(name, fields) for name, fields in header.items()}
    expected = 8 + length + _check_offsets(entries)
    if size != expected:
        raise TruncatedError(f"it has {size} bytes and its header says {expected}")
    return entries


def _check_metadata(metadata: Any) -> None:
    if metadata is None:  # mlx writes null if there is no metadata
        return
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its header is not that of a safetensors file: __metadata__ is to hold texts")


def _entry(name: str, fields: Any) -> TensorEntry:
    if not isinstance(fields, dict):
        raise ValueError(f"its header does not describe {name[:80]!r}")
    dtype: Any = fields.get("dtype")
    shape: Any = fields.get("shape")
    offsets: Any = fields.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in BITS:
        raise ValueError(f"dtype of {name[:80]!r} is {dtype!r}; one of {', '.join(BITS)} is needed")
    if not _sizes(shape) or len(shape) > MOST_AXES:
        raise ValueError(
            f"shape of {name[:80]!r} is {_short(shape)}; at most {MOST_AXES} whole numbers are needed"
        )
    if not _sizes(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(
            f"data_offsets of {name[:80]!r} are {_short(offsets)}; two whole numbers in order are needed"
        )
    entry = TensorEntry(dtype, tuple(shape), *offsets)
    if entry.size * BITS[dtype] != 8 * (entry.stop - entry.start):
        raise ValueError(
            f"{name[:80]!r} of shape {_short(shape)} in {dtype} does not fill its {entry.stop - entry.start} bytes"
        )
    return entry


def _sizes(value: Any) -> bool:
    return isinstance(value, list) and all(type(size) is int and 0 <= size < 2**63 for size in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}..."


def _check_offsets(entries: dict[str, TensorEntry]) -> int:
    """The end of the last tensor; the tensors must be contiguous."""
    end = 0
    for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].stop)):
        if entry.start != end:
            raise ValueError(f"{name[:80]!r} begins at byte {entry.start}, and {end} is free")
        end = entry.stop
    return end
