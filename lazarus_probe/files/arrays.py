"""Untrusted archives of NumPy arrays (.npz): no pickles, and sizes within limits that are checked first."""

from __future__ import annotations

import io
import math
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.files.reading import MIB, check_regular, open_regular

MOST_UNPACKED = 1024 * MIB
MOST_HEADER = 1_000  # bytes: NumPy parses it as Python, which prints warnings on deep nesting
MOST_MEMBERS = 100_000
MOST_EMPTY = 1_000_000  # empty texts take no bytes in a file, but they take memory


def read_arrays(path: str | Path, most: int = MOST_UNPACKED) -> dict[str, NDArray[Any]]:
    """The arrays of an archive by name: numbers and texts.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than `most` bytes.
        ValueError: it holds more than `most` bytes unpacked, an array of another type or of the wrong length, or two of
            one name. The other errors that a damaged archive raises are in `files.damage.DAMAGED`.
    """
    with open_archive(path, most) as archive:
        arrays: dict[str, NDArray[Any]] = {}
        for member in archive.infolist():
            key = member.filename.removesuffix(".npy")
            if key in arrays:
                raise ValueError(f"it holds {key[:80]!r} twice")
            arrays[key] = from_npy(key, archive.read(member))
        return arrays


@contextmanager
def open_archive(path: str | Path, most: int = MOST_UNPACKED) -> Iterator[zipfile.ZipFile]:
    """An archive whose members have a bounded total size by its directory, which zipfile does not read beyond.

    Raises:
        OSError: it cannot be read, is not a regular file, or is larger than `most` bytes.
        ValueError: it holds more than `most` bytes unpacked. zipfile.BadZipFile: it is not an archive.
    """
    check_regular(path, most)
    with open_regular(path) as file, zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > MOST_MEMBERS or sum(member.file_size for member in members) > most:
            raise ValueError(f"unpacked it is larger than {most // MIB} MiB")
        yield archive


def from_npy(key: str, content: bytes) -> NDArray[Any]:
    """An array from the bytes of an .npy file, whose header is checked first.

    Raises:
        ValueError: it is of another format or type, or its length does not match its header.
    """
    file = io.BytesIO(content)
    version = np.lib.format.read_magic(file)
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"its {key!r} has an unknown format {version}")
    width = 2 if version == (1, 0) else 4
    length = int.from_bytes(content[file.tell() : file.tell() + width], "little")
    if length > MOST_HEADER:
        raise ValueError(f"its {key[:80]!r} has a header of {length} bytes; at most {MOST_HEADER} are read")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy warns of headers written by Python 2
        try:
            shape, in_columns, dtype = readers[version](file)
        except ValueError:  # NumPy's message is about Python objects
            raise ValueError(f"its {key[:80]!r} has a header that describes no array") from None
    if dtype.kind not in "biufU":
        raise ValueError(f"its {key!r} is of type {dtype}; numbers and texts are read")
    left = content[file.tell() :]
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(left):
        raise ValueError(f"its {key!r} is truncated: shape {shape} of {dtype} in {len(left)} bytes")
    if not dtype.itemsize:
        if math.prod(shape) > MOST_EMPTY:
            raise ValueError(f"its {key!r} has the shape {shape}, without a byte")
        return np.full(shape, "", dtype="<U1")
    return np.frombuffer(left, dtype).reshape(shape, order="F" if in_columns else "C")
