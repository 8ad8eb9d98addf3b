"""The settings of one architecture in the metadata of a GGUF file, each of the type that it should have."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from lazarus_probe.checkpoints.errors import LoadError
from lazarus_probe.checkpoints.gguf.reader import GgufFile


@dataclass(frozen=True)
class Settings:
    """Reads a file's settings; keys are given without the architecture that they begin with.

    Attributes:
        file: the file.
        prefix: what the keys begin with.
    """

    file: GgufFile
    prefix: str

    def integer(self, key: str, default: int | None = None, least: int = 1) -> int:
        """A whole number.

        Raises:
            LoadError: it is missing without a default, or is none; the message names file and key.
        """
        value = self.plain(key, default)
        if type(value) is not int or not least <= value < 2**63:
            raise self.wrong(key, f"a whole number of at least {least}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A finite number.

        Raises:
            LoadError: as `integer`.
        """
        value = self.plain(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(key, "a finite number")
        return _shortest(value)

    def text(self, key: str, default: str) -> str:
        """A text.

        Raises:
            LoadError: it is none.
        """
        value = self.plain(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """Yes or no.

        Raises:
            LoadError: it is neither.
        """
        value = self.plain(key, default)
        if not isinstance(value, bool):
            raise self.wrong(key, "true or false")
        return value

    def has(self, key: str) -> bool:
        """Whether the file gives the setting."""
        return f"{self.prefix}{key}" in self.file.metadata

    def plain(self, key: str, default: Any = None) -> Any:
        """The value; an array with one value for each layer stands for that value where all are the same.

        Raises:
            LoadError: the layers differ.
        """
        value = self.file.metadata.get(f"{self.prefix}{key}", default)
        if isinstance(value, np.ndarray) and value.size:
            if (value != value[0]).any():
                raise LoadError(
                    f"{self.file.path}: {self.prefix}{key} differs between layers, which is not loaded"
                )
            return value[0].item()
        return value

    def wrong(self, key: str, right: str) -> LoadError:
        """The error about a value of the wrong kind."""
        name = f"{self.prefix}{key}"
        if name not in self.file.metadata:
            return LoadError(f"{self.file.path}: {name} is missing; {right} is needed")
        return LoadError(
            f"{self.file.path}: {name} is {ascii(self.file.metadata[name])[:60]}; {right} is needed"
        )


def _shortest(value: float) -> float:
    """The shortest number that float32 stores as it is: 1e-05 and not 9.999999747378752e-06."""
    short = float(str(np.float32(value)))
    return short if isinstance(value, float) and np.float32(short) == np.float32(value) == value else value
