"""Pairs of prompts as they are requested."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lazarus_probe.introspection.patching.pair_files import read_pairs


@dataclass(frozen=True)
class Question:
    """A pair of prompts as it was requested; answers that were not given are found by `patch_pairs.answered`.

    Attributes:
        source: patched from.
        target: patched into.
        expected_source: the source's answer; a text of digits is a number.
        expected_target: the target's answer.
        group: the independent unit of the pair; its operands, or the pair itself, unless given.
    """

    source: str
    target: str
    expected_source: str | None = None
    expected_target: str | None = None
    group: str | None = None


def named(prompt: str) -> str:
    """A prompt in an error: not all of it where it is long."""
    return repr(prompt if len(prompt) <= 60 else f"{prompt[:59]}…")


def read_questions(path: Path) -> list[Question]:
    """The pairs in a file, as `read_pairs` has them; tokens that it may also name are left out.

    Raises:
        OSError: as `read_pairs`.
        ValueError: as `read_pairs`.
    """
    keys = ("expected_source", "expected_target", "group")
    return [
        Question(str(pair["source"]), str(pair["target"]), *(pair.get(key) for key in keys))
        for pair in read_pairs(path)
    ]
