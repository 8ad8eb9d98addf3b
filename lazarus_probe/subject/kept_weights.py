"""Weights that took long to compute, kept in a file of this process.

Permuting the entries of SmolLM2's blocks takes 6 s of processor time, and reading them back .1 s; a suite asks for the
same five models with every claim, and 2 GB of them are more than it may hold in memory.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

MOST = 2**33  # bytes
SHARE = 0.25  # of what is free on the disk of temporary files
FEWEST = 2**16  # entries; fewer are computed as fast


@dataclass(eq=False)
class KeptWeights:
    """Arrays by what determines them, in a temporary file without a name: it is gone when the process is.

    Attributes:
        cap: bytes at most; by default a quarter of the free disk, and 8 GiB at most. What comes later is not kept.
    """

    cap: int | None = None
    _file: IO[bytes] | None = None
    _places: dict[Hashable, tuple[int, np.dtype[Any], tuple[int, ...]]] = field(default_factory=dict)
    _end: int = 0

    def get(self, key: Hashable) -> NDArray[Any] | None:
        """What was kept under a key, not to be written to, or None."""
        if self._file is None or key not in self._places:
            return None
        begin, dtype, shape = self._places[key]
        content = os.pread(self._file.fileno(), int(np.prod(shape)) * dtype.itemsize, begin)
        return np.frombuffer(content, dtype).reshape(shape)

    def keep(self, key: Hashable, values: NDArray[Any]) -> None:
        """Keep an array, if it is large and there is room; where the disk is full, it is not kept."""
        if values.size < FEWEST or key in self._places:
            return
        try:
            if self._file is None:
                self._file = tempfile.TemporaryFile()  # noqa: SIM115 - open as long as this is used
                weakref.finalize(self, self._file.close)
            if self.cap is None:
                self.cap = min(MOST, int(SHARE * shutil.disk_usage(tempfile.gettempdir()).free))
            if self._end + values.nbytes > self.cap:
                return
            self._file.seek(self._end)
            self._file.write(values.tobytes())
            self._file.flush()
        except OSError:
            self.cap = 0
            return
        self._places[key] = (self._end, values.dtype, values.shape)
        self._end += values.nbytes
