"""Reading numbers out of a completion, and the one that answers a question.

One engine for all that reads a number: whole numbers only, with separators, and never one that the limit of tokens may
have cut off. A completion often repeats its question (`7 * 8 is 56`, `7 times 8 equals 56.`); operands are no answer.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass
from fractions import Fraction


class CutText(str):
    """A completion that the limit of tokens ended, so that its last word or number may go on.

    What a model ended by itself, or a stop string did, is a plain `str`.
    """

    __slots__ = ()


SEPARATORS = ",\u202f\u00a0"
# At most as many digits as no float overflows at; a sign after a digit or a letter is an operator.
NUMBER = rf"(?:(?<!\w)-)?(?:\d{{1,3}}(?:[{SEPARATORS}]\d{{3}})+(?!\d)|\d{{1,200}})(?:\.\d{{1,200}})?"
_ANYWHERE = re.compile(rf"(?<![\d.])(?<!\d,){NUMBER}(?!\d)")
_SYMBOL = r"(?:\*\*|[-+*/^\u2212\u00d7\u00f7\u22c5\u00b7]|\\times|\\cdot|\\div)"
_WORD = r"(?:times|plus|minus|over|divided by|multiplied by|added to|subtracted from|to the power of)"
_OPERATOR = re.compile(rf"\s*\$?\s*(?:{_SYMBOL}|[xX]|{_WORD})\s*\$?\s*")
# Between an operand and the end of a text: `7 *`, or `7 and` where the limit cut it.
_UNFINISHED = re.compile(rf"\s*(?:{_SYMBOL}|[xX]|{_WORD}|and|from|by)\s*")
_WORDED = re.compile(rf"\s*\b{_WORD}\b")
# Between two operands in words: `the product of 7 and 8`, `7 groups of 8`.
_BETWEEN = re.compile(r"[A-Za-z ]*\b(?:and|from|by|to|of|with|into|in)\b[A-Za-z ]*")
_CLAIMS = re.compile(r"\b(?:is|are|equals?|gives?|makes?|get|was)\b")
_LABEL = re.compile(r"\b(?:step|question|example|part|problem|exercise)\s*#?\s*$", re.IGNORECASE)


@dataclass(frozen=True)
class Number:
    """A number in a text: its value, and the characters from `start` up to `end`."""

    value: Fraction
    start: int
    end: int


def value_of(text: str) -> Fraction:
    """The value of a number as it is written, separators left out."""
    return Fraction(re.sub(f"[{SEPARATORS}]", "", text))


def numbers_in(text: str) -> list[Number]:
    """All whole numbers of a text, in their order: `2,209` is one, and `220` is not in `2209`."""
    return [Number(value_of(match[0]), *match.span()) for match in _ANYWHERE.finditer(text)]


def may_go_on(text: str, number: Number) -> bool:
    """Whether the limit of tokens ended a text right after a number, or after a comma or point behind it."""
    return isinstance(text, CutText) and text[number.end :] in ("", ",", ".")


def first_number(text: str) -> float | None:
    """The number that a text begins with, after nothing but spaces; None where it is none, or may go on."""
    number = next(iter(numbers_in(text)), None)
    if number is None or text[: number.start].strip() or may_go_on(text, number):
        return None
    return float(number.value)


def answer_number(text: str, question: str = "") -> float | None:
    """The value of what `find_answer` finds."""
    number = find_answer(text, question)
    return None if number is None else float(number.value)


def find_answer(text: str, question: str = "") -> Number | None:
    """The number that a completion gives as its answer, wherever it comes; None where it gives none.

    It is the first one that is not an operand of a calculation (`7 * 8`, `7 times 8`, also an unfinished `7 *`), does
    not repeat two numbers of the question (`the product of 7 and 8`), and counts no step (`Step 1`). A number that the
    limit of tokens may have cut off ends the search: what comes first is what a model commits itself to.

    Args:
        text: the completion; a `CutText` where the limit ended it.
        question: the prompt, for numbers that are repeated from it.
    """
    numbers, operands = numbers_in(text), [number.value for number in numbers_in(question)]
    used = _operands(text, numbers, operands)
    for index, number in enumerate(numbers):
        if index not in used and not _LABEL.search(text[: number.start]):
            return None if may_go_on(text, number) else number
    return None


def _operands(text: str, numbers: list[Number], of_question: list[Fraction]) -> set[int]:
    """Which numbers of a text, by their index, are parts of a calculation or repeat the question."""
    used: set[int] = set()
    pairs = {frozenset(pair) for pair in itertools.pairwise(of_question)}
    for index, number in enumerate(numbers):
        after = numbers[index + 1] if index + 1 < len(numbers) else None
        between = text[number.end : after.start if after else len(text)]
        if after is None:
            unfinished = _WORDED.match(between) if "\n" not in between else None
            if unfinished or _UNFINISHED.fullmatch(between):
                used.add(index)
        elif (
            _OPERATOR.fullmatch(between)
            or _signed(text, between, after)
            or _WORDED.fullmatch(between)
            or (frozenset((number.value, after.value)) in pairs and _repeats(between))
        ):
            used |= {index, index + 1}
    return used


def _repeats(between: str) -> bool:
    """Whether two numbers of the question are put side by side, rather than one given as the other's result."""
    return len(between) < 40 and bool(_BETWEEN.fullmatch(between)) and not _CLAIMS.search(between)


def _signed(text: str, between: str, after: Number) -> bool:
    """Whether the sign of the second number is an operator: `100 -37`."""
    return text[after.start] == "-" and bool(between) and not between.strip(" ")
