"""Arrays on disk, each in a file named by what determines it, that many processes read, write and remove."""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
from filelock import FileLock, Timeout
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lazarus_probe.files.paths import user_path

WAIT = 600.0  # seconds for another process' pass; after that, the same is computed here too

_MODEL = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"[0-9a-f]{64}\.(safetensors|[0-9a-f]{32}\.partial)")


@dataclass(frozen=True, eq=False)
class Entry:
    """One array, known by all that determines it, in words; among that is the `fingerprint` of a model."""

    content: dict[str, str]

    @cached_property
    def address(self) -> str:
        """The name that no other content has."""
        return digest(self.content)


@dataclass(frozen=True, eq=False)
class Folder:
    """A folder of entries, which others may change at any time.

    A file an entry rather than one a pass: a later request takes the sites it finds and computes the rest.

    Attributes:
        path: an existing folder.
        cap: bytes of entries at most.
        problems: what went wrong with files, in a line each; nothing is raised for it.
    """

    path: Path
    cap: int
    problems: list[str] = field(default_factory=list)

    @classmethod
    def at(cls, folder: str | Path, cap: int) -> Folder:
        """The folder, made if missing.

        Raises:
            OSError: it cannot be made, read or written.
        """
        path = user_path(folder)
        try:
            path.mkdir(parents=True, exist_ok=True)
            next(path.iterdir(), None)
            with TemporaryFile(dir=path):
                return cls(path, cap)
        except OSError as error:
            raise OSError(f"{path} cannot keep activations ({error.strerror}); give another folder") from None

    @contextmanager
    def locked(self, fingerprint: str, name: str) -> Iterator[None]:
        """Within, no other process works under that name, unless it has waited very long.

        The lock is the kernel's and goes with its process. Where there is none, both compute the same.
        """
        lock = FileLock(self._lock(fingerprint, name))
        with suppress(OSError, NotImplementedError):  # waited too long, or a file system without locks
            Path(lock.lock_file).parent.mkdir(parents=True, exist_ok=True)
            lock.acquire(timeout=WAIT)
        try:
            yield
        finally:
            lock.release()

    def is_locked(self, fingerprint: str, name: str) -> bool:
        """Whether another process works under that name, or under one with the same lock."""
        lock = FileLock(self._lock(fingerprint, name))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except (OSError, NotImplementedError):  # no folder yet, or a file system without locks
            return False
        lock.release()
        return False

    def read(self, entry: Entry) -> np.ndarray | None:
        """The array, read-only; None where it is not there, or not as it was written."""
        path = self._path(entry)
        try:
            values = _loaded(path, entry)
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, ValueError) as error:
            self.problems.append(f"{path} is damaged ({error}); it is computed again and replaced")
            return None
        with suppress(OSError):
            os.utime(path)
        return values

    def write(self, entries: Mapping[Entry, np.ndarray]) -> None:
        """Keep arrays, and remove the least recently used files that are too much then."""
        for entry, values in entries.items():
            data = _dumped(entry, values)
            if len(data) <= self.cap:
                self._replace(self._path(entry), data)
        files = sorted(_sizes(self._files()))
        total = sum(size for _, size, _ in files)
        for _, size, path in files:
            if total <= self.cap:
                break
            with suppress(OSError):
                path.unlink(missing_ok=True)
                total -= size

    def _lock(self, fingerprint: str, name: str) -> Path:
        # A lock in use cannot be removed, so names share 256 of them a model rather than leave one each.
        return self.path / fingerprint[:16] / f"{name[:2]}.lock"

    def _path(self, entry: Entry) -> Path:
        return self.path / entry.content["fingerprint"][:16] / f"{entry.address}.safetensors"

    def _replace(self, path: Path, data: bytes) -> None:
        # Not `files.whole_file`: a lost entry is computed again, so neither its fsync nor its look through the folder
        # for files left by others is worth their time for every entry.
        aside = path.with_name(f"{path.stem}.{uuid.uuid4().hex}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(data)
            aside.replace(path)
        except FileNotFoundError:
            pass  # another process removed it to make room
        except OSError as error:
            self.problems.append(
                f"{path} cannot be written ({error.strerror}); its values are not kept there"
            )
        finally:
            with suppress(OSError):
                aside.unlink()

    def _files(self) -> list[Path]:
        """Our own files, also those left half written by a process that died; never anybody else's."""
        with suppress(OSError):
            models = [path for path in self.path.iterdir() if _MODEL.fullmatch(path.name)]
            return [path for model in models for path in model.iterdir() if _FILE.fullmatch(path.name)]
        return []


def digest(value: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def read_only(values: np.ndarray) -> np.ndarray:
    """The same array, which cannot be written to from now on."""
    values.flags.writeable = False
    return values


def _sizes(paths: list[Path]) -> Iterator[tuple[int, int, Path]]:
    """Time of last use, size and path of those that are still there."""
    for path in paths:
        with suppress(OSError):
            stat = path.stat()
            yield stat.st_mtime_ns, stat.st_size, path


def _dumped(entry: Entry, values: np.ndarray) -> bytes:
    values = np.ascontiguousarray(values)  # safetensors writes memory as it lies, whatever the strides
    checked = {"shape": json.dumps(values.shape), "crc32": str(zlib.crc32(values.data))}
    return save({"values": values}, {**entry.content, **checked})


def _loaded(path: Path, entry: Entry) -> np.ndarray:
    """The array in a file.

    Raises:
        FileNotFoundError: there is none.
        OSError, SafetensorError, ValueError: it cannot be read, or does not hold what its name says.
    """
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        shape, crc = metadata.pop("shape", ""), metadata.pop("crc32", "")
        if metadata != entry.content or list(file.keys()) != ["values"]:
            raise ValueError("it describes something else")
        part = file.get_slice("values")
        if part.get_dtype() != "F32" or json.dumps(part.get_shape()) != shape:
            raise ValueError(f"its values are {part.get_dtype()} {part.get_shape()}, not F32 {shape}")
        values = file.get_tensor("values")
    if str(zlib.crc32(values.data)) != crc:
        raise ValueError("its values are not those that were written")
    return read_only(values)
