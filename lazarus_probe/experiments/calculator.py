"""The virtual expert: a calculator that reads two numbers from a prompt."""

from __future__ import annotations

import re
from fractions import Fraction

from lazarus_probe.spelling import one_of
from lazarus_probe.tasks.arithmetic import number_words

# Longest first, or `sixty` would be read in `sixty-four`.
WORDS = {number_words(number): number for number in range(101)}
NUMBER = re.compile(
    rf"\b(?:\d{{1,3}}(?:,\d{{3}})+|\d+|{'|'.join(sorted(WORDS, key=len, reverse=True))})\b", re.IGNORECASE
)


def operands(prompt: str) -> tuple[int, int] | None:
    """The two numbers of a prompt, in digits or in words, in the order of the calculation.

    `Subtract 8 from 15:` is (15, 8). None unless there are exactly two numbers, so that prompts about anything else
    are left to the model.
    """
    matches = list(NUMBER.finditer(prompt))
    if len(matches) != 2:
        return None
    first, second = (_value(match[0]) for match in matches)
    between = prompt[matches[0].end() : matches[1].start()]
    return (second, first) if between.strip().lower() == "from" else (first, second)


def calculate(operation: str, a: int, b: int) -> str | None:
    """The result in digits; a quotient that is not an integer has decimals, and a division by zero is None.

    Raises:
        ValueError: an unknown operation.
    """
    if operation == "divide":
        return None if b == 0 else _as_digits(Fraction(a, b))
    results = {"multiply": a * b, "add": a + b, "subtract": a - b}
    if operation not in results:
        raise ValueError(f"unknown operation {operation!r}; {one_of(operation, [*results, 'divide'])}")
    return str(results[operation])


def solve(prompt: str, operation: str) -> str | None:
    """The answer to a prompt under an operation, as it continues the prompt; None where it has no two numbers."""
    numbers = operands(prompt)
    result = None if numbers is None else calculate(operation, *numbers)
    return result if result is None or prompt.endswith(" ") else f" {result}"


def _value(text: str) -> int:
    digits = text.replace(",", "")
    return int(digits) if digits.isdigit() else WORDS[text.lower()]


def _as_digits(value: Fraction) -> str:
    return str(value.numerator) if value.denominator == 1 else f"{float(value):.10g}"
