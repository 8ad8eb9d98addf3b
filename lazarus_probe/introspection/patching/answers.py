"""Answers of prompts: what they are, whether a completion gives one, and what a patch did to a completion."""

from __future__ import annotations

import operator
import re
from fractions import Fraction
from typing import Literal

from lazarus_probe.introspection.patching.prompt_pairs import Answer, PromptPair
from lazarus_probe.tasks.arithmetic import is_answer, parse_number

Effect = Literal["no_effect", "full_transfer", "partial_transfer", "corruption"]
EFFECTS: tuple[Effect, ...] = ("no_effect", "full_transfer", "partial_transfer", "corruption")
EXPRESSION = re.compile(
    r"(?P<lead>\s*)(?P<a>\d{1,9})(?P<left>\s*)(?P<op>[-+*/])(?P<right>\s*)(?P<b>\d{1,9})(?P<end>\s*=\s*)"
)
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def classify(before: str, after: str, pair: PromptPair) -> Effect:
    """What patching did to the target's output; numbers are parsed, so `2,209` is 2209, and words are whole.

    `full_transfer`: the source's answer, which was not there before. `no_effect`: the same answer as before.
    `partial_transfer`: another number, or words that hold the source's answer further on. `corruption`: no number
    any more, or neither answer.
    """
    same = _same(before, after, pair)
    if says(after, pair.source_answer) and not (same and says(before, pair.source_answer)):
        return "full_transfer"
    if same:
        return "no_effect"
    if isinstance(pair.source_answer, str) or isinstance(pair.target_answer, str):
        words = words_of(shown(pair.source_answer))
        return "partial_transfer" if words and f" {' '.join(words)} " in _spaced(after) else "corruption"
    return "corruption" if parse_number(after) is None else "partial_transfer"


def says(text: str, answer: Answer | None) -> bool:
    """Whether a completion begins with an answer: the whole number, or the whole words in either case."""
    if answer is None:
        return False
    if not isinstance(answer, str):
        return is_answer(text, answer)
    words = words_of(answer)
    return words_of(text)[: len(words)] == words if words else text.strip() == answer.strip()


def shown(answer: Answer | None) -> str:
    """An answer as it is written; nothing for one that is not known."""
    if answer is None or isinstance(answer, str):
        return answer or ""
    return str(int(answer)) if answer == int(answer) else str(answer)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without what lies between them."""
    return re.findall(r"\w+", text.casefold())


def _spaced(text: str) -> str:
    return f" {' '.join(words_of(text))} "


def _same(before: str, after: str, pair: PromptPair) -> bool:
    """Whether two completions give one answer, right or wrong: as many words as the target's answer has count."""
    if before == after:
        return True
    if not isinstance(pair.target_answer, str):
        number = parse_number(after)
        return number is not None and number == parse_number(before)
    count = max(1, len(words_of(pair.target_answer)))
    first, second = words_of(before)[:count], words_of(after)[:count]
    return first == second and (bool(first) or before.strip() == after.strip())


def exact_answer(prompt: str) -> float | None:
    """The result of a prompt `a op b =`, in any spacing; None for other prompts, and for what has no short decimal."""
    match = EXPRESSION.fullmatch(prompt)
    if match is None or (match["op"] == "/" and int(match["b"]) == 0):
        return None
    exact = OPERATORS[match["op"]](Fraction(match["a"]), Fraction(match["b"]))
    return float(exact) if (exact * 1000).denominator == 1 else None


def as_answer(text: str) -> Answer:
    """A number where the whole text is one, else the text."""
    number = number_of(text)
    return number if number is not None and re.fullmatch(r"[\s\d.,\u202f\u00a0-]+", text) else text


def number_of(text: str) -> float | None:
    """The number that a text begins with, unless it has more digits than a float can resolve."""
    number = parse_number(text)
    return number if number is not None and abs(number) < 1e15 else None
