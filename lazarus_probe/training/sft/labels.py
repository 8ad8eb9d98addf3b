"""The class of an arithmetic prompt, from its phrasing."""

from __future__ import annotations

import re

from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.tasks.rewards import parse_question

# The signs of printed mathematics: times, middle dot, minus, divided by.
SYMBOLS = {"\u00d7": "*", "\u00b7": "*", "\u2212": "-", "\u00f7": "/"}
EXPRESSION = re.compile(rf"(?:what is\s+)?\d+\s*([-+*/{''.join(SYMBOLS)}])\s*\d+\s*[=?:]?", re.IGNORECASE)


def operation_in(prompt: str) -> str | None:
    """The operation that a prompt requests, or None if it is not a single arithmetic question.

    Recognised are `7 * 8 = ` with any spacing, and the phrasings of `tasks.arithmetic`; a prompt that contains such
    words by chance ("how many times ...") is not.
    """
    if expression := EXPRESSION.fullmatch(prompt.strip()):
        symbol = SYMBOLS.get(expression[1], expression[1])
        return next(name for name, operation in OPERATIONS.items() if operation.symbol == symbol)
    fact = parse_question(prompt)
    return None if fact is None else fact.operation
