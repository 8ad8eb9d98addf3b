"""Expressions such as `7*8=`: every operation on the same pairs of numbers, and where their parts stand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lazarus_probe.tasks.arithmetic import OPERATIONS

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LAST = "="
MOST = 1500  # expressions; a probe's cost grows with their square


@dataclass(frozen=True)
class Expression:
    """`7*8=`: an operation on two parts.

    A quotient is that of the parts' product, `56/8=`, so that it is whole; other operations take the parts as they are.
    """

    operation: str
    a: int
    b: int

    @property
    def operands(self) -> tuple[int, int]:
        """The numbers as written."""
        return (self.a * self.b, self.b) if self.operation == "divide" else (self.a, self.b)

    @property
    def pieces(self) -> tuple[str, str, str, str]:
        """The first operand, the operation's symbol, the second operand and `=`."""
        first, second = self.operands
        return str(first), OPERATIONS[self.operation].symbol, str(second), "="

    @property
    def answer(self) -> int:
        """The result."""
        answers = {
            "multiply": self.a * self.b,
            "add": self.a + self.b,
            "subtract": self.a - self.b,
            "divide": self.a,
        }
        return answers[self.operation]

    @property
    def family(self) -> str:
        """What a split keeps together: the unordered pair of parts."""
        return f"{min(self.a, self.b)},{max(self.a, self.b)}"

    def __str__(self) -> str:
        return "".join(self.pieces)


def expressions(operations: Sequence[str], digits: Sequence[int]) -> list[Expression]:
    """Every operation on every pair of numbers.

    Raises:
        ValueError: fewer than three numbers, or more expressions than probes can be fitted to.
    """
    count = len(operations) * len(digits) ** 2
    if len(digits) < 3 or not operations:
        raise ValueError(f"{len(digits)} numbers under {len(operations)} operations; give at least 3 under 1")
    if count > MOST:
        raise ValueError(
            f"{len(digits)} numbers make {count} expressions; give so few that they are at most {MOST}"
        )
    return [Expression(name, a, b) for name in operations for a in digits for b in digits]


def token_positions(
    subject: Subject, problems: Sequence[Expression], tokens: Sequence[Sequence[int]]
) -> dict[str, list[int]]:
    """By piece, the position of its last token in each expression.

    Raises:
        ValueError: the tokenizer joins one piece with the next.
    """
    names = ("first operand", "symbol", "second operand", LAST)
    positions: dict[str, list[int]] = {name: [] for name in names}
    for expression, ids in zip(problems, tokens, strict=True):
        for count, name in enumerate(names, 1):
            start = subject.encode("".join(expression.pieces[:count]))
            if list(ids[: len(start)]) != start:
                raise ValueError(
                    f"the tokenizer joins parts of {str(expression)!r}: its tokens are not those of its operands and "
                    "symbols, so positions cannot be separated"
                )
            positions[name].append(len(start) - 1)
    return positions
