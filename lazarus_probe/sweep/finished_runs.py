"""What a search that takes many runs shows while it runs, and the file from which it resumes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.files.arrays import read_arrays
from lazarus_probe.files.damage import DAMAGED
from lazarus_probe.files.whole_files import whole_file
from lazarus_probe.subject.one_run import require_one_process
from lazarus_probe.sweep.progress import bar
from lazarus_probe.sweep.table import digest

OF = "of"


@dataclass(eq=False)
class FinishedRuns:
    """Numbers of runs that are done, by a digest of what was run.

    Attributes:
        progress: show a bar, where standard error is a terminal.
        path: the file that keeps them; None for none.
        of: a digest of the model and its prompts; a file of others is refused.
    """

    progress: bool = False
    path: Path | None = None
    of: str = ""
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    @classmethod
    def resumed(cls, path: str | Path | None, of: str, *, progress: bool = False) -> FinishedRuns:
        """Those of a file, if there is one.

        Raises:
            OSError: it cannot be read.
            ValueError: it is not such a file, or of another model or other prompts; or this process is one of several,
                which may read other states of it.
        """
        if path is not None:
            require_one_process(f"a search with the file {path}")
        runs = cls(progress, None if path is None else Path(path), of)
        if runs.path is None or not runs.path.exists():
            return runs
        try:
            arrays = read_arrays(runs.path)
            written = str(arrays.pop(OF))
        except DAMAGED:
            raise ValueError(f"{path} is not the file of an interrupted search; name another") from None
        if written != of:
            raise ValueError(
                f"{path} is of another model, other prompts or another version of this package; name another file, or "
                "delete it"
            )
        runs.arrays = arrays
        return runs

    def get(self, *run: Any, shape: tuple[int, ...]) -> NDArray[np.float64] | None:
        """The numbers of a run that is done; None of one that is not.

        Raises:
            ValueError: they have another shape, or are not finite.
        """
        array = self.arrays.get(digest(*run))
        if array is None:
            return None
        if array.shape != shape or array.dtype != np.float64 or not np.isfinite(array).all():
            raise ValueError(f"{self.path} is damaged; delete it, and the search starts anew")
        return array

    def keep(self, array: NDArray[np.float64], *run: Any) -> NDArray[np.float64]:
        """Keep the numbers of a run, and return them. The file is written whole or not at all."""
        if self.path is not None:
            self.arrays[digest(*run)] = array
            with whole_file(self.path) as aside, aside.open("wb") as file:
                named: dict[str, Any] = {OF: np.array(self.of), **self.arrays}
                np.savez(file, **named)
        return array

    def bar(self, total: int, label: str) -> AbstractContextManager[Callable[[int], None]]:
        """A bar over so many prompts in so many runs."""
        return bar(total, self.progress, label, "runs")
