"""The class of an arithmetic prompt, from the way it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from lazarus_probe.tasks.arithmetic import LARGEST_MINUEND, OPERATIONS, PHRASINGS, Operation, number_words

# The signs of printed mathematics: times, middle dot, minus, divided by.
SYMBOLS = {"\u00d7": "*", "\u00b7": "*", "\u2212": "-", "\u00f7": "/"}
EXPRESSION = re.compile(rf"(?:what is\s+)?\d+\s*([-+*/{''.join(SYMBOLS)}])\s*\d+\s*[=?:]?", re.IGNORECASE)


def operation_in(prompt: str) -> str | None:
    """The operation that a prompt asks for, or None where it is not one question of arithmetic.

    Known are `7 * 8 = ` with any spacing, and the phrasings of `tasks.arithmetic`; a prompt in which such words
    stand by chance ("how many times ...") is none.
    """
    if expression := EXPRESSION.fullmatch(prompt.strip()):
        symbol = SYMBOLS.get(expression[1], expression[1])
        return next(name for name, operation in OPERATIONS.items() if operation.symbol == symbol)
    found = {name for name, pattern in _patterns() if pattern.fullmatch(prompt.strip())}
    return found.pop() if len(found) == 1 else None


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    words = "|".join(number_words(number) for number in range(LARGEST_MINUEND, -1, -1))
    number = rf"(?:\d+|{words})"
    return tuple(
        (name, re.compile(_filled(phrasing, operation, number), re.IGNORECASE))
        for name, operation in OPERATIONS.items()
        for phrasing in PHRASINGS.values()
    )


def _filled(phrasing: str, operation: Operation, number: str) -> str:
    """A phrasing as a regular expression that takes any two numbers."""
    for name in ("lower_command", "command"):
        phrasing = phrasing.replace(f"{{{name}}}", operation.command)
    parts = {"symbol": operation.symbol, "infix": operation.infix, "noun": operation.noun}
    return "".join(_pieces(phrasing.strip(), parts, number))


def _pieces(phrasing: str, parts: dict[str, str], number: str) -> Iterator[str]:
    for piece in re.split(r"(\{\w+\})", phrasing):
        name = piece.strip("{}")
        if not piece.startswith("{"):
            yield re.escape(piece)
        else:
            yield number if name in ("a", "b", "A", "B") else re.escape(parts[name])
