"""The arrays of a running sweep, and the file from which an interrupted sweep resumes."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.files.arrays import read_arrays
from lazarus_probe.files.damage import DAMAGED
from lazarus_probe.files.plain_json import parse_json
from lazarus_probe.files.whole_files import whole_file

Numbers = NDArray[Any]
PARTS = ("values", "baseline", "donors")
SECONDS_BETWEEN_WRITES = 2.0


@dataclass(eq=False)
class CellTable:
    """Metrics of cells, of unpatched targets and of donors, and which prompts are done.

    Attributes:
        values: by metric (P, sources, sites, positions).
        baseline: by metric (P,).
        donors: by metric (P, sources).
        done: (P,).
        path: the file kept while the sweep runs; None for none.
        key: digests of the sweep's arguments by name; a file with other digests is refused.
    """

    values: dict[str, Numbers]
    baseline: dict[str, Numbers]
    donors: dict[str, Numbers]
    done: NDArray[np.bool_]
    path: Path | None = None
    key: Mapping[str, str] = field(default_factory=dict)
    written: float = field(default_factory=time.monotonic)

    @classmethod
    def empty(
        cls, shape: tuple[int, ...], numbers: Sequence[str], texts: Sequence[str], **fields: Any
    ) -> CellTable:
        """A table of NaN and empty texts."""

        def arrays(size: tuple[int, ...]) -> dict[str, Numbers]:
            empty: dict[str, Numbers] = {name: np.full(size, np.nan, np.float32) for name in numbers}
            return empty | {name: np.full(size, "", dtype=object) for name in texts}

        done = np.zeros(shape[0], dtype=bool)
        return cls(arrays(shape), arrays(shape[:1]), arrays(shape[:2]), done, **fields)

    def finished(self, prompts: Sequence[int]) -> None:
        """Mark prompts as done, and write the file if the last write was a while ago."""
        self.done[list(prompts)] = True
        if time.monotonic() - self.written > SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Write the file whole or not at all."""
        if self.path is None:
            return
        arrays: dict[str, Any] = {
            f"{part}:{name}": array for part in PARTS for name, array in self.texts(part).items()
        }
        with whole_file(self.path) as aside, aside.open("wb") as file:
            np.savez(file, key=np.array(json.dumps(dict(self.key))), done=self.done, **arrays)
        self.written = time.monotonic()

    def read(self) -> None:
        """Fill the arrays from the file, if there is one.

        Raises:
            ValueError: it is not such a file, or was written by a sweep with other arguments.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            arrays = read_arrays(self.path)
            key = parse_json(str(arrays["key"]))
        except DAMAGED:
            raise ValueError(f"{self.path} is not the file of an interrupted sweep; name another") from None
        changed = [name for name, digest in self.key.items() if key.get(name) != digest]
        if changed:
            raise ValueError(
                f"{self.path} is of a sweep with other {', '.join(changed)}; name another file, or delete it"
            )
        try:
            for part in PARTS:
                for name, array in getattr(self, part).items():
                    array[...] = arrays[f"{part}:{name}"]
            self.done[...] = arrays["done"]
        except DAMAGED:
            raise ValueError(f"{self.path} is damaged; delete it, and the sweep starts anew") from None

    def texts(self, part: str) -> dict[str, Numbers]:
        """The arrays of a part, answers as text of fixed width."""
        return {
            name: array.astype(str) if array.dtype == object else array
            for name, array in getattr(self, part).items()
        }


def digest(*parts: Any) -> str:
    """A digest of numbers, texts, arrays, and lists and dicts of them."""
    return hashlib.sha256(b"".join(map(_bytes, parts))).hexdigest()[:16]


def _bytes(part: Any) -> bytes:
    if isinstance(part, Mapping):
        part = [[str(key), value] for key, value in part.items()]
    if isinstance(part, list | tuple):
        return b"[" + b",".join(map(_bytes, part)) + b"]"
    if isinstance(part, str | int | float | bool | None):
        return repr(part).encode()
    array = np.asarray(part)
    return f"{array.dtype} {array.shape}".encode() + array.tobytes()
