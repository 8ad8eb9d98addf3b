"""The verifiable reward of arithmetic: the question is read out of the prompt, and the answer is checked."""

from __future__ import annotations

import re
from functools import cache

from lazarus_probe.tasks.arithmetic import (
    LARGEST_MINUEND,
    OPERATIONS,
    PHRASINGS,
    Fact,
    Operation,
    number_words,
    parse_number,
)


def arithmetic_reward(prompt: str, response: str) -> float:
    """1 if a response begins with the exact result of the prompt's question, else 0.

    Args:
        prompt: a question in any phrasing of `tasks.arithmetic`, as in `7*8=` or `What is seven times eight?`.
        response: what a model wrote after it.

    Raises:
        ValueError: the prompt asks nothing of that kind, or divides by zero.

    Example:
        >>> from lazarus_probe.tasks import arithmetic_reward
        >>> arithmetic_reward("7*8=", "56"), arithmetic_reward("7*8=", "54")
        (1.0, 0.0)
    """
    fact = parse_question(prompt)
    if fact is None:
        raise ValueError(
            f"{prompt!r} is no question of tasks.arithmetic, such as '7 * 8 = ' or 'What is seven times eight?'"
        )
    return float(parse_number(response) == _exact(fact))


def parse_question(prompt: str) -> Fact | None:
    """The fact that a prompt asks for, or None; case, and spaces around the prompt, are no matter.

    Example:
        >>> from lazarus_probe.tasks import parse_question
        >>> parse_question("What is seven times eight?")
        Fact(operation='multiply', a=7, b=8)
    """
    text = prompt.strip()
    for operation, pattern in _patterns():
        if match := pattern.fullmatch(text):
            a, b = _number(match["a"]), _number(match["b"])
            if a is not None and b is not None:
                return Fact(operation, a, b)
    return None


def _exact(fact: Fact) -> float:
    if fact.operation != "divide":
        return fact.answer
    if fact.b == 0:
        raise ValueError(f"{fact.a} divided by 0 has no answer; leave that prompt out")
    return fact.a / fact.b


_WHOLE = r"\d+|[a-z-]+|one hundred"
_A, _B = "\0", "\1"  # stand for the numbers; no phrasing has them


@cache
def _patterns() -> tuple[tuple[str, re.Pattern[str]], ...]:
    """The operation and the pattern of every phrasing."""
    return tuple(
        (name, re.compile(_pattern(operation, phrasing), re.IGNORECASE))
        for name, operation in OPERATIONS.items()
        for phrasing in PHRASINGS
    )


def _pattern(operation: Operation, phrasing: str) -> str:
    """A phrasing of an operation, with a group where each number stands."""
    command = operation.command.format(a=_A, b=_B)
    text = PHRASINGS[phrasing].format(
        a=_A,
        b=_B,
        A=_A,
        B=_B,
        symbol=operation.symbol,
        infix=operation.infix,
        noun=operation.noun,
        command=command,
        lower_command=command[0].lower() + command[1:],
    )
    escaped = re.escape(text.strip())
    return escaped.replace(_A, f"(?P<a>{_WHOLE})").replace(_B, f"(?P<b>{_WHOLE})")


@cache
def _words() -> dict[str, int]:
    return {number_words(number): number for number in range(LARGEST_MINUEND + 1)}


def _number(text: str) -> int | None:
    return int(text) if text.isdigit() else _words().get(text.lower())
