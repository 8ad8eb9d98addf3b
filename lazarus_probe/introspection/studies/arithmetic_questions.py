"""The questions of systematic arithmetic: every operation at every difficulty, within what the organism was taught."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lazarus_probe.tasks.arithmetic import OPERATIONS, Fact, facts

DIFFICULTIES = ("easy", "medium", "hard")
PER_CELL = 13  # with four operations and three difficulties, 156 questions


@dataclass(frozen=True)
class Question:
    """A fact with how hard and how large it is."""

    fact: Fact
    difficulty: str
    magnitude: str

    @property
    def prompt(self) -> str:
        """The question, as in `7 * 8 = `; the space at its end belongs to it."""
        return self.fact.prompt("spaced")


def difficulty_of(fact: Fact) -> str | None:
    """`easy` where both parts have one digit, `medium` where one has, `hard` where none; None for what is not asked.

    Parts are a fact's operands, or for differences and quotients what the answer and the second operand are: 56/8 is as
    hard as 7*8. Those of 1, and beyond 50, are not asked.
    """
    low, high = fact.family
    if low < 2 or high > 50:
        return None
    return DIFFICULTIES[(low > 9) + (high > 9)]


def questions(
    per_cell: int = PER_CELL, difficulties: Sequence[str] = DIFFICULTIES, seed: int = 0
) -> list[Question]:
    """`per_cell` questions for every operation at every difficulty, no two of a cell from one family.

    The same questions are drawn whatever other difficulties are requested.
    """
    chosen = []
    for operation in OPERATIONS:
        for index, difficulty in enumerate(DIFFICULTIES):
            if difficulty in difficulties:
                rng = np.random.default_rng([seed, list(OPERATIONS).index(operation), index])
                chosen += _cell(operation, difficulty, per_cell, rng)
    return chosen


def _cell(operation: str, difficulty: str, count: int, rng: np.random.Generator) -> list[Question]:
    pool = [fact for fact in facts(operation) if difficulty_of(fact) == difficulty]
    by_family = {pool[i].family: pool[i] for i in rng.permutation(len(pool))}
    if len(by_family) < count:
        raise ValueError(f"{operation} has {len(by_family)} {difficulty} families; {count} were requested")
    return [Question(fact, difficulty, _magnitude(fact)) for fact in list(by_family.values())[:count]]


def _magnitude(fact: Fact) -> str:
    digits = len(str(fact.answer))
    return f"{digits} digit{'s' if digits > 1 else ''}"
