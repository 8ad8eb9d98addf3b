"""The header of a GGUF file: its metadata, and where each tensor lies, checked against the file before use.

The format is described at https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. The gguf package has a reader too;
it takes 20 s for a vocabulary of 49,152 tokens, and reads whatever sizes a damaged file claims.
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.tensor_types import TENSOR_TYPES, TYPE_NAMES, TensorEntry, TensorType
from lazarus_probe.files.reading import MIB, open_regular

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MOST_KEYS = 10_000
MOST_TENSORS = 200_000
MOST_VALUES = 10_000_000  # in all arrays; the largest vocabularies with their merges have a million
MOST_HEADER = 512 * MIB
MOST_KEY = 65_535  # bytes, by the format
MOST_TEXT = 64 * MIB
MOST_AXES = 4
MOST_PARTS = 1_000
ALIGNMENT, MOST_ALIGNMENT = 32, MIB
SCALARS = {
    0: "<u1", 1: "<i1", 2: "<u2", 3: "<i2", 4: "<u4", 5: "<i4", 6: "<f4", 7: "?", 10: "<u8", 11: "<i8", 12: "<f8",
}  # fmt: skip
STRING, ARRAY = 8, 9
PART = re.compile(r"(?P<stem>.+)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf")


@dataclass(frozen=True)
class GgufFile:
    """What a GGUF file holds.

    Attributes:
        path: of the file, or of the first of its parts.
        metadata: by key; arrays of numbers are NumPy's, arrays of texts are lists.
        tensors: by the names that llama.cpp gives them.
    """

    path: Path
    metadata: dict[str, Any]
    tensors: dict[str, TensorEntry]

    @property
    def architecture(self) -> str:
        """The architecture by llama.cpp's name, as in `qwen2`.

        Raises:
            LoadError: the file gives none.
        """
        name = self.metadata.get("general.architecture")
        if not isinstance(name, str) or not name:
            raise LoadError(f"{self.path}: general.architecture is {_short(name)}; a name is needed")
        return name


def read_gguf(path: Path) -> GgufFile:
    """What a GGUF file holds; the parts of a model that was split are read with the first.

    Raises:
        LoadError: the file cannot be read, is truncated or damaged, or is of an unknown version; the message names file
            and field.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None
    return _read(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=1)  # it is read to check it, for the number of layers, and for the model
def _read(path: Path, size: int, changed: int) -> GgufFile:  # noqa: ARG001 - of a file that changes, another is kept
    file = _read_part(path)
    count = file.metadata.get("split.count")
    if not isinstance(count, int) or count < 2:
        return file
    tensors = dict(file.tensors)
    parts = part_paths(path)
    if len(parts) != count or count > MOST_PARTS:
        raise LoadError(
            f"{path} is one of {count} parts; give the first of them, NAME-00001-of-{count:05d}.gguf, with the others "
            "next to it"
        )
    for part in parts[1:]:
        for name, entry in _read_part(part).tensors.items():
            if name in tensors:
                raise LoadError(f"{part} is damaged: the tensor {_short(name)} is in another part, too")
            tensors[name] = entry
    return GgufFile(path, file.metadata, tensors)


def architecture_in(path: Path) -> str:
    """The architecture that a file names, of whose header no more is read than up to there.

    Raises:
        LoadError: as `read_gguf`.
    """
    return _opened(path, lambda header: header.read(until="general.architecture")).architecture


def part_paths(path: Path) -> list[Path]:
    """The files of a model by the name of its first part, `NAME-00001-of-00003.gguf`; else the file alone."""
    match = PART.fullmatch(path.name)
    if match is None or int(match["number"]) != 1:
        return [path]
    stem, count = match["stem"], int(match["count"])
    return [path.with_name(f"{stem}-{number:05d}-of-{count:05d}.gguf") for number in range(1, count + 1)]


def _read_part(path: Path) -> GgufFile:
    return _opened(path, lambda header: header.read())


def _opened(path: Path, read: Callable[[_Header], GgufFile]) -> GgufFile:
    try:
        with open_regular(path) as file:
            return read(_Header(file, path))
    except OSError as error:
        raise LoadError(f"{path} cannot be read: {error.strerror or error}") from None


@dataclass
class _Header:
    """A cursor over a header, which never reads beyond the end of the file."""

    file: BinaryIO
    path: Path
    size: int = 0
    at: int = 0
    values: int = 0
    keys: dict[str, Any] = field(default_factory=dict)

    def read(self, until: str | None = None) -> GgufFile:
        """What the file holds; without tensors where it is read up to a key."""
        self.size = os.fstat(self.file.fileno()).st_size
        if self.take(4, "its first bytes") != MAGIC:
            raise LoadError(f"{self.path} is no GGUF file: it does not begin with GGUF")
        version = self.number("I", "its version")
        if version & 0xFFFF == 0:
            raise LoadError(f"{self.path} is a big-endian GGUF file; a little-endian one is needed")
        if version not in VERSIONS:
            raise LoadError(f"{self.path} is a GGUF file of version {version}; versions 2 and 3 are read")
        tensors = self.count("its number of tensors", MOST_TENSORS)
        for _ in range(self.count("its number of keys", MOST_KEYS)):
            key = self.text("a key", MOST_KEY)
            if key in self.keys:
                raise self.damaged(f"the key {_short(key)} is there twice")
            self.keys[key] = self.value(self.number("I", f"the type of {_short(key)}"), key)
            if key == until:
                return GgufFile(self.path, self.keys, {})
        entries = self.entries(tensors)
        return GgufFile(self.path, self.keys, entries)

    def take(self, count: int, what: str) -> bytes:
        if count > self.size - self.at:
            raise LoadError(f"{self.path} is truncated or damaged: it ends within {what}; fetch it again")
        if self.at + count > MOST_HEADER:
            raise self.damaged(f"the header is larger than {MOST_HEADER // MIB} MiB")
        content = self.file.read(count)
        if len(content) != count:
            raise LoadError(f"{self.path} is truncated: it ends within {what}; fetch it again")
        self.at += count
        return content

    def number(self, form: str, what: str) -> int:
        return int(struct.unpack(f"<{form}", self.take(struct.calcsize(f"<{form}"), what))[0])

    def count(self, what: str, most: int) -> int:
        count = self.number("Q", what)
        if count > most:
            raise self.damaged(f"{what} is {count}; at most {most:,} are read")
        return count

    def text(self, what: str, most: int = MOST_TEXT) -> str:
        length = int.from_bytes(self.take(8, what), "little")
        if length > most:
            raise self.damaged(f"{what} has {length} bytes; at most {most:,} are read")
        try:
            return self.take(length, what).decode()
        except UnicodeDecodeError:
            raise self.damaged(f"{what} is not UTF-8") from None

    def value(self, kind: int, key: str) -> Any:
        if kind == STRING:
            return self.text(_short(key))
        if kind == ARRAY:
            return self.array(key)
        form = self.form_of(kind, key)
        return np.frombuffer(self.take(form.itemsize, _short(key)), form)[0].item()

    def array(self, key: str) -> Any:
        kind = self.number("I", _short(key))
        length = self.count(f"the length of {_short(key)}", MOST_VALUES)
        self.values += length
        if self.values > MOST_VALUES:
            raise self.damaged(f"its arrays hold more than {MOST_VALUES:,} values")
        if kind == STRING:
            if length * 8 > self.size - self.at:  # each has its length before it
                raise LoadError(f"{self.path} is truncated or damaged: it ends within {_short(key)}")
            what = f"an entry of {_short(key)}"
            return [self.text(what) for _ in range(length)]
        form = self.form_of(kind, key)
        return np.frombuffer(self.take(length * form.itemsize, _short(key)), form)

    def form_of(self, kind: int, key: str) -> np.dtype[Any]:
        if kind not in SCALARS:
            what = "an array of arrays" if kind == ARRAY else f"of the unknown type {kind}"
            raise self.damaged(f"{_short(key)} is {what}")
        return np.dtype(SCALARS[kind])

    def entries(self, count: int) -> dict[str, TensorEntry]:
        described = [self.description() for _ in range(count)]
        alignment = self.keys.get("general.alignment", ALIGNMENT)
        if type(alignment) is not int or not 0 < alignment <= MOST_ALIGNMENT or alignment & (alignment - 1):
            raise self.damaged(f"general.alignment is {_short(alignment)}; a power of two is needed")
        start = -(-self.at // alignment) * alignment
        entries: dict[str, TensorEntry] = {}
        for name, kind, shape, offset in described:
            if name in entries:
                raise self.damaged(f"the tensor {_short(name)} is there twice")
            if offset % alignment:
                raise self.damaged(
                    f"the tensor {_short(name)} begins at {offset}, no multiple of {alignment}"
                )
            entries[name] = TensorEntry(self.path, kind, shape, start + offset)
        self.check_places(entries)
        return entries

    def description(self) -> tuple[str, TensorType, tuple[int, ...], int]:
        name = self.text("the name of a tensor", MOST_KEY)
        axes = self.number("I", f"the shape of {_short(name)}")
        if axes > MOST_AXES:
            raise self.damaged(f"the tensor {_short(name)} has {axes} axes; at most {MOST_AXES} are read")
        shape = tuple(self.number("Q", f"the shape of {_short(name)}") for _ in range(axes))[::-1]
        number = self.number("I", f"the type of {_short(name)}")
        offset = self.number("Q", f"the place of {_short(name)}")
        if number not in TENSOR_TYPES:
            known = f" ({TYPE_NAMES[number]})" if number in TYPE_NAMES else ""
            raise LoadError(
                f"{self.path}: the tensor {_short(name)} is of type {number}{known}, which is not read; those that are "
                f"are {', '.join(kind.name for kind in TENSOR_TYPES.values())}"
            )
        kind = TENSOR_TYPES[number]
        if (shape[-1] if shape else 1) % kind.block:
            raise self.damaged(
                f"the rows of {_short(name)} have {shape[-1]} numbers, no multiple of {kind.block} "
                f"({kind.name})"
            )
        return name, kind, shape, offset

    def check_places(self, entries: dict[str, TensorEntry]) -> None:
        """Whether all tensors lie in the file, and none in another."""
        end = 0
        for name, entry in sorted(entries.items(), key=lambda pair: (pair[1].start, pair[1].nbytes)):
            if entry.start + entry.nbytes > self.size:
                raise LoadError(
                    f"{self.path} is truncated or damaged: the tensor {_short(name)} ends at byte "
                    f"{entry.start + entry.nbytes}, and the file has {self.size}; fetch it again"
                )
            if entry.start < end:
                raise self.damaged(f"the tensor {_short(name)} begins within another")
            end = entry.start + entry.nbytes

    def damaged(self, what: str) -> LoadError:
        return LoadError(f"{self.path} is damaged: {what}")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) and value.isprintable() and value else ascii(value)
    return text if len(text) <= 80 else f"{text[:80]}..."
