"""Slices of prompts: an operation, a phrasing and a size of the numbers.

The simplest comes first in every list, and what a search ends at is the first that fails: so the order is what
"simplest" means. `hypothesis.strategies.sampled_from` makes a strategy of a list, which shrinks towards its front. The
prompts of a slice are halved by operand family. What a search has looked at is one half; what it found is confirmed
on the other, and 7+8, 8+7 and 15-8 are always on the same side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Literal, TypeVar
from zlib import crc32

import numpy as np

from lazarus_probe.tasks.arithmetic import PHRASINGS, Fact, facts
from lazarus_probe.tasks.prompts import Question

Part = Literal["search", "confirm"]
T = TypeVar("T")

SIMPLEST_FIRST = ("add", "subtract", "multiply", "divide")
DIGITS = ((1, 1), (1, 2), (2, 2))


@dataclass(frozen=True)
class ArithmeticSlice:
    """Questions of one operation in one phrasing, about numbers of one size.

    Attributes:
        operation: `add`, `subtract`, `multiply` or `divide`.
        phrasing: one of `PHRASINGS`.
        digits: of the two parts, the shorter first; the parts of 15-8 are 7 and 8, those of 56/8 are 7 and 8 too.
    """

    operation: str
    phrasing: str
    digits: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.operation}, {self.phrasing}, {_sizes(self.digits)} parts"

    def draw(self, count: int, rng: np.random.Generator, part: Part) -> list[Question]:
        """At most `count` different questions from one half of the slice.

        Raises:
            ValueError: an unknown operation or phrasing.
        """
        pool = [fact for fact in _facts_of(self.operation, self.digits) if half_of(fact.family) == part]
        return [Question(fact.prompt(self.phrasing), fact, self.phrasing) for fact in _some(pool, count, rng)]


@dataclass(frozen=True)
class PairSlice:
    """Two questions about the same numbers with different operations, such as `7*8=` and `7+8=`, of one answer each.

    Attributes:
        source: the operation of the first.
        target: the operation of the second.
        phrasing: of both.
        digits: of the two numbers as they are written, the shorter first.
    """

    source: str
    target: str
    phrasing: str
    digits: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.source} into {self.target}, {self.phrasing}, {_sizes(self.digits)} numbers"

    def draw(self, count: int, rng: np.random.Generator, part: Part) -> list[tuple[Question, Question]]:
        """At most `count` different pairs from one half of the slice; the answers of a pair differ.

        Raises:
            ValueError: an unknown operation or phrasing.
        """
        pool = [pair for pair in _pairs_of(self.source, self.target, self.digits) if half_of(pair) == part]
        drawn = _some(pool, count, rng)
        return [(self._ask(self.source, *pair), self._ask(self.target, *pair)) for pair in drawn]

    def _ask(self, operation: str, a: int, b: int) -> Question:
        fact = Fact(operation, a, b)
        return Question(fact.prompt(self.phrasing), fact, self.phrasing)


def arithmetic_slices(
    operations: Sequence[str] = SIMPLEST_FIRST,
    phrasings: Sequence[str] = tuple(PHRASINGS),
    digits: Sequence[tuple[int, int]] = DIGITS,
) -> tuple[ArithmeticSlice, ...]:
    """Every `ArithmeticSlice` of these, the simplest first; by default all operations, phrasings and sizes: 108.

    Example:
        >>> from lazarus_probe.tasks import arithmetic_slices
        >>> slices = arithmetic_slices(["multiply", "add"], ["compact"], [(1, 1)])
        >>> [str(one) for one in slices]
        ['multiply, compact, 1-digit parts', 'add, compact, 1-digit parts']
    """
    return tuple(ArithmeticSlice(*parts) for parts in product(operations, phrasings, digits))


def pair_slices(
    operations: Sequence[str] = ("multiply", "add", "subtract", "divide"),
    phrasings: Sequence[str] = ("compact", "spaced"),
    digits: Sequence[tuple[int, int]] = DIGITS,
) -> tuple[PairSlice, ...]:
    """Every `PairSlice` of two of the operations, the published `7*8=` into `7+8=` first; by default 72.

    Example:
        >>> from lazarus_probe.tasks import pair_slices
        >>> pairs = pair_slices(["multiply", "add"], ["compact"], [(1, 1)])
        >>> str(pairs[0])
        'multiply into add, compact, 1-digit numbers'
        >>> source, target = pairs[0].draw(1, np.random.default_rng(0), "search")[0]
        >>> source.text.replace("*", "+") == target.text
        True
    """
    parts = product(permutations(operations, 2), phrasings, digits)
    return tuple(PairSlice(*pair, phrasing, size) for pair, phrasing, size in parts)


def half_of(family: tuple[int, int]) -> Part:
    """Which half of the prompts an unordered pair of numbers is in, the same in every slice and run."""
    low, high = sorted(family)
    return "search" if crc32(f"{low},{high}".encode()) & 1 else "confirm"


@cache
def _facts_of(operation: str, digits: tuple[int, int]) -> tuple[Fact, ...]:
    return tuple(fact for fact in facts(operation) if _digits(*fact.family) == digits)


@cache
def _pairs_of(source: str, target: str, digits: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Pairs of numbers that both operations take."""
    of_target = {(fact.a, fact.b): fact.answer for fact in facts(target)}
    return tuple(
        (fact.a, fact.b)
        for fact in facts(source)
        if _digits(fact.a, fact.b) == digits and of_target.get((fact.a, fact.b), fact.answer) != fact.answer
    )


def _digits(a: int, b: int) -> tuple[int, int]:
    shorter, longer = sorted((len(str(a)), len(str(b))))
    return shorter, longer


def _sizes(digits: tuple[int, int]) -> str:
    shorter, longer = digits
    return f"{longer}-digit" if shorter == longer else f"{shorter}- and {longer}-digit"


def _some(pool: Sequence[T], count: int, rng: np.random.Generator) -> list[T]:
    return [pool[i] for i in rng.permutation(len(pool))[:count]]
