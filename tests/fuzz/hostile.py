"""What is wrong with an input, how it is made, and what it is given to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

RAN = "ran"  # a file that code of a stranger's would make, in the current folder
PAYLOAD = f"open({RAN!r}, 'w').close()"


@dataclass(frozen=True)
class Hostile:
    """An input that has something wrong.

    Attributes:
        kind: what is wrong, for the table.
        name: of this one.
        put: writes it: into a whole checkpoint's or adapter's folder, or to a file's path.
        reader: the command or reader that it is given to.
        harmless: whether it may also be read: what is wrong may lie where nobody looks.
        slow: whether it takes seconds, to be made or until a limit stops it.
    """

    kind: str
    name: str
    put: Callable[[Path], object]
    reader: str
    harmless: bool = False
    slow: bool = False
