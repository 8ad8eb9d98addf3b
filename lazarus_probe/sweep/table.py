"""The arrays of a sweep while they fill, and the file from which an interrupted sweep goes on."""

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

# What reading a file that is cut short, or is another's, may raise.


@dataclass(eq=False)
class Table:
    """Metrics of cells, of untouched targets and of donors, and which prompts are done.

    Attributes:
        values: by metric (P, sources, sites, positions).
        baseline: by metric (P,).
        donors: by metric (P, sources).
        done: (P,).
        path: the file kept while the sweep runs; None for none.
        key: by name of an argument, a digest of it; a file with others is refused.
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
        cls, shape: tuple[int, ...], numbers: Sequence[str], texts: Sequence[str], **kept: Any
    ) -> Table:
        """A table of NaN and empty texts."""

        def arrays(size: tuple[int, ...]) -> dict[str, Numbers]:
            found: dict[str, Numbers] = {name: np.full(size, np.nan, np.float32) for name in numbers}
            return found | {name: np.full(size, "", dtype=object) for name in texts}

        done = np.zeros(shape[0], dtype=bool)
        return cls(arrays(shape), arrays(shape[:1]), arrays(shape[:2]), done, **kept)

    def finished(self, prompts: Sequence[int]) -> None:
        """Mark prompts as done, and write the file if the last time was a while ago."""
        self.done[list(prompts)] = True
        if time.monotonic() - self.written > SECONDS_BETWEEN_WRITES:
            self.write()

    def write(self) -> None:
        """Write the file, aside and renamed, so that it is never half of one."""
        if self.path is None:
            return
        with whole_file(self.path) as aside, aside.open("wb") as file:
            arrays: dict[str, Any] = self._flat()
            np.savez(file, key=np.array(json.dumps(dict(self.key))), done=self.done, **arrays)
        self.written = time.monotonic()

    def read(self) -> None:
        """Take over what the file holds, if there is one.

        Raises:
            ValueError: it is no such file, or was written by a sweep with other arguments.
        """
        if self.path is None or not self.path.exists():
            return
        try:
            arrays = read_arrays(self.path)
            key = parse_json(str(arrays["key"]))
        except DAMAGED:
            raise ValueError(f"{self.path} is no file of an interrupted sweep; name another") from None
        other = [name for name, digest in self.key.items() if key.get(name) != digest]
        if other:
            raise ValueError(
                f"{self.path} is of a sweep with other {', '.join(other)}; name another file, or delete it"
            )
        try:
            for part in PARTS:
                for name, array in getattr(self, part).items():
                    array[...] = arrays[f"{part}:{name}"]
            self.done[...] = arrays["done"]
        except DAMAGED:
            raise ValueError(f"{self.path} is damaged; delete it, and the sweep starts anew") from None

    def texts(self, part: str) -> dict[str, Numbers]:
        """A part whose answers are arrays of text of a fixed width."""
        return {
            name: array.astype(str) if array.dtype == object else array
            for name, array in getattr(self, part).items()
        }

    def _flat(self) -> dict[str, Numbers]:
        return {f"{part}:{name}": array for part in PARTS for name, array in self.texts(part).items()}


def digest(*parts: Any) -> str:
    """A digest of numbers, texts, arrays, and lists and dicts of them."""
    found = hashlib.sha256()
    for part in parts:
        found.update(_bytes(part))
    return found.hexdigest()[:16]


def _bytes(part: Any) -> bytes:
    if isinstance(part, Mapping):
        part = [[str(key), value] for key, value in part.items()]
    if isinstance(part, list | tuple):
        return b"[" + b",".join(_bytes(one) for one in part) + b"]"
    if isinstance(part, str | int | float | bool | None):
        return repr(part).encode()
    array = np.asarray(part)
    return f"{array.dtype} {array.shape}".encode() + array.tobytes()
