"""Pairs of expressions with their operands swapped, and the pairs that share less, which they are compared with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SIDE = re.compile(r"(?P<lead>\s*)(?P<a>\d{1,6})(?P<op>\s*[-+*/]\s*)(?P<b>\d{1,6})(?P<end>\s*=\s*)?")
OPERANDS = range(2, 10)
CONTROLS = ("same_first", "same_answer", "random", "non_commutative")


@dataclass(frozen=True)
class Swap:
    """Two operands in both orders.

    Attributes:
        a: the first operand of `prompt_a`.
        b: the second.
        op: between them, with its spaces.
        lead: the text before.
        end: the sign of equality, with its spaces.
    """

    a: int
    b: int
    op: str = "*"
    lead: str = ""
    end: str = "="

    @property
    def prompt_a(self) -> str:
        """In the order given."""
        return self.write(self.a, self.b)

    @property
    def prompt_b(self) -> str:
        """With the operands swapped."""
        return self.write(self.b, self.a)

    @property
    def symbol(self) -> str:
        """The operation."""
        return self.op.strip()

    @property
    def answer(self) -> float:
        """Of `prompt_a`."""
        return value_of(self.symbol, self.a, self.b)

    def write(self, a: int, b: int, op: str | None = None) -> str:
        """A prompt of the same form."""
        return f"{self.lead}{a}{op or self.op}{b}{self.end}"


def value_of(symbol: str, a: int, b: int) -> float:
    """The result of an operation; NaN for a division by zero."""
    match symbol:
        case "+":
            return float(a + b)
        case "-":
            return float(a - b)
        case "*":
            return float(a * b)
    return a / b if b else float("nan")


def default_swaps() -> list[Swap]:
    """The 28 products of two different numbers from 2 to 9."""
    return [Swap(a, b) for a, b in combinations(OPERANDS, 2)]


def parse_swaps(items: Iterable[str], option: str = "--pairs") -> list[Swap]:
    """The pairs in items such as `2*3,3*2`, where a missing `=` is added.

    Raises:
        ValueError: an item that is not two expressions, of which the second is the first with its operands swapped; or
            fewer than two items.
    """
    swaps = [_swap(item, option) for item in items]
    if len({(*sorted((swap.a, swap.b)), swap.symbol) for swap in swaps}) < 2:
        raise ValueError(
            f"{option} has {len(swaps)} different pairs; give at least 2, as in '2*3,3*2|4*7,7*4'"
        )
    return swaps


def _swap(item: str, option: str) -> Swap:
    first_text, comma, second_text = item.partition(",")
    first, second = SIDE.fullmatch(first_text), SIDE.fullmatch(second_text)
    if not comma or first is None or second is None:
        raise ValueError(f"{option}: {item!r} is not a pair of expressions; write it as in '2*3,3*2'")
    a, b, op = first["a"], first["b"], first["op"]
    if (a, b, op) != (second["b"], second["a"], second["op"]) or a == b:
        raise ValueError(
            f"{option}: {second_text!r} is not {first_text!r} with two different operands swapped"
        )
    return Swap(int(a), int(b), op, first["lead"], first["end"] or "=")


def drawn_pairs(swaps: Sequence[Swap], seed: int) -> dict[str, list[tuple[str, str]]]:
    """The pairs of prompts of every kind, one for each swap: `swapped` and those of `CONTROLS`."""
    import numpy as np  # here, for arguments are read without it

    rng = np.random.default_rng(seed)
    pairs: dict[str, list[tuple[str, str]]] = {name: [] for name in ("swapped", *CONTROLS)}
    for swap in swaps:
        a, b = swap.a, swap.b
        low, high = 10 ** (len(str(min(a, b))) - 1), 10 ** len(str(max(a, b)))
        others = [number for number in range(max(2, low), high) if number not in (a, b)][:1000]
        c, d = (int(number) for number in rng.choice(others, size=2, replace=False))
        pairs["swapped"].append((swap.prompt_a, swap.prompt_b))
        pairs["same_first"].append((swap.prompt_a, swap.write(a, c)))
        pairs["same_answer"].append((swap.prompt_a, swap.write(*_same_result(swap, rng))))
        pairs["random"].append((swap.prompt_a, swap.write(c, d)))
        minus = swap.op.replace(swap.symbol, "-")
        pairs["non_commutative"].append((swap.write(a, b, minus), swap.write(b, a, minus)))
    return pairs


def _same_result(swap: Swap, rng: np.random.Generator) -> tuple[int, int]:
    """Other operands with the result of `prompt_a`; of factors, 1 only where there is no other."""
    a, b = swap.a, swap.b
    pairs: list[tuple[int, int]]
    if swap.symbol == "*":
        product = a * b
        pairs = [(c, product // c) for c in range(1, min(product, 1000) + 1) if product % c == 0]
        larger = [pair for pair in pairs if min(pair) > 1 and {*pair} != {a, b}]
        pairs = larger or pairs
    elif swap.symbol == "+":
        pairs = [(c, a + b - c) for c in range(1, min(a + b, 1000))]
    elif swap.symbol == "-":
        pairs = [(a + shift, b + shift) for shift in range(1, 10)]
    else:
        pairs = [(a * times, b * times) for times in range(2, 6)]
    candidates = [pair for pair in pairs if {*pair} != {a, b}] or [(a, b)]
    return candidates[int(rng.integers(len(candidates)))]
