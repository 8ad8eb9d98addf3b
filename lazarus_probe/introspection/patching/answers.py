"""Answers of prompts: their value, whether a completion gives one, and how a patch changed a completion."""

from __future__ import annotations

import operator
import re
from fractions import Fraction
from typing import Literal

from lazarus_probe.introspection.patching.prompt_pairs import Answer, PromptPair
from lazarus_probe.tasks.arithmetic import parse_number

Effect = Literal["no_effect", "full_transfer", "partial_transfer", "corruption"]
EXPRESSION = re.compile(
    r"(?P<lead>\s*)(?P<a>\d{1,9})(?P<left>\s*)(?P<op>[-+*/])(?P<right>\s*)(?P<b>\d{1,9})(?P<end>\s*=\s*)"
)
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def classify(before: str, after: str, pair: PromptPair) -> Effect:
    """The effect of a patch on the target's completion; numbers are parsed (`2,209` is 2209), words compared whole.

    `full_transfer`: the source's answer, not given before. `no_effect`: the same answer as before.
    `partial_transfer`: another number, or words that contain the source's answer further on. `corruption`: no number
    any more, or words of neither answer.
    """
    same = _same(before, after, pair)
    if says(after, pair.source_answer) and not (same and says(before, pair.source_answer)):
        return "full_transfer"
    if same:
        return "no_effect"
    if isinstance(pair.source_answer, str) or isinstance(pair.target_answer, str):
        words, completion = (" ".join(words_of(text)) for text in (shown(pair.source_answer), after))
        return "partial_transfer" if words and f" {words} " in f" {completion} " else "corruption"
    return "corruption" if parse_number(after) is None else "partial_transfer"


def says(text: str, answer: Answer | None) -> bool:
    """Whether a completion begins with an answer: the whole number, or the whole words in either case."""
    if answer is None:
        return False
    if not isinstance(answer, str):
        return parse_number(text) == answer
    words = words_of(answer)
    return words_of(text)[: len(words)] == words if words else text.strip() == answer.strip()


def shown(answer: Answer | None) -> str:
    """An answer as text; empty for an unknown one."""
    if answer is None or isinstance(answer, str):
        return answer or ""
    return str(int(answer)) if answer == int(answer) else str(answer)


def one_line(text: str, most: int = 40) -> str:
    """A completion in one line of at most `most` characters; of a number, only the number."""
    line = " ".join(text.split())
    if parse_number(line) is not None:
        line = line.split()[0]
    return (line if len(line) <= most else f"{line[: most - 1]}…") or "(ends)"


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without spaces and punctuation."""
    return re.findall(r"\w+", text.casefold())


def _same(before: str, after: str, pair: PromptPair) -> bool:
    """Whether two completions give the same answer, right or wrong; as many words count as the target's answer has."""
    if before == after:
        return True
    if not isinstance(pair.target_answer, str):
        number = parse_number(after)
        return number is not None and number == parse_number(before)
    count = max(1, len(words_of(pair.target_answer)))
    first, second = words_of(before)[:count], words_of(after)[:count]
    return first == second and (bool(first) or before.strip() == after.strip())


def exact_answer(prompt: str) -> float | None:
    """The result of a prompt `a op b =`, in any spacing; None for other prompts and results without a short decimal."""
    match = EXPRESSION.fullmatch(prompt)
    if match is None or (match["op"] == "/" and int(match["b"]) == 0):
        return None
    exact = OPERATORS[match["op"]](Fraction(match["a"]), Fraction(match["b"]))
    return float(exact) if (exact * 1000).denominator == 1 else None


def as_answer(text: str) -> Answer:
    """The number that a text consists of, else the text."""
    number = number_of(text)
    return number if number is not None and re.fullmatch(r"[\s\d.,\u202f\u00a0-]+", text) else text


def number_of(text: str) -> float | None:
    """The number at the beginning of a text, unless it has more digits than a float can resolve."""
    number = parse_number(text)
    return number if number is not None and abs(number) < 1e15 else None
