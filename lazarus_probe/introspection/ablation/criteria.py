"""The behaviour that an ablation should break, as a test of a generated text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lazarus_probe.asking.behaviours import calls_tool, refuses
from lazarus_probe.tasks.arithmetic import parse_number

PATTERNS = {
    "sorry": r"\bsorry\b|\bapologi[sz]e\b",
    "positive": r"\b(?:positive|great|good|excellent|wonderful|love)\b",
    "negative": r"\b(?:negative|bad|terrible|awful|hate|poor)\b",
}
# In all formats in use, and for a refusal only what an output begins with.
BEHAVIOURS = {"function_call": calls_tool, "refusal": refuses}

_NUMBER = re.compile(r"\s*-?\d[\d,\u202f\u00a0]*(?:\.\d+)?\s*")


@dataclass(frozen=True)
class Criterion:
    """A behaviour.

    Attributes:
        name: as the user wrote it.
        passes: whether a completion shows it.
    """

    name: str
    passes: Callable[[str], bool]


def criterion_of(condition: str | Callable[[str], bool]) -> Criterion:
    """The criterion for a condition: a built-in word, a number, any other text as a substring, or a function.

    A number is compared with the one that the output begins with: `2,209` is 2209, and `1000` is not 100.

    Raises:
        ValueError: it is empty.
    """
    if callable(condition):
        return Criterion(getattr(condition, "__name__", "criterion"), condition)
    if not condition:
        raise ValueError(
            f"the criterion is empty; give {', '.join([*BEHAVIOURS, *PATTERNS])}, a number or a text to look for"
        )
    if condition in BEHAVIOURS:
        return Criterion(condition, BEHAVIOURS[condition])
    if condition in PATTERNS:
        pattern = re.compile(PATTERNS[condition], re.IGNORECASE)
        return Criterion(condition, lambda text: pattern.search(text) is not None)
    number = parse_number(condition) if _NUMBER.fullmatch(condition) else None
    if number is not None:
        return Criterion(condition, lambda text: parse_number(text) == number)
    return Criterion(condition, lambda text: condition in text)


def is_coherent(text: str) -> bool:
    """Whether a text looks like language and not like repetition: a heuristic, for reports only."""
    words = text.split()
    if not words:
        return False
    if len(text) > 50 and len(set(text)) < 10:
        return False
    repeats = max(words.count(word) for word in set(words))
    return len(words) < 8 or repeats <= len(words) / 2
