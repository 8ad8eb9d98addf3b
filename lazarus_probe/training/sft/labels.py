"""The class of an arithmetic prompt, from the way it is asked."""

from __future__ import annotations

import re

from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.tasks.rewards import parse_question

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
    fact = parse_question(prompt)
    return None if fact is None else fact.operation
