"""What a router is taught, calibrated and measured on: arithmetic among everything else a model is asked.

A signal is trained on some wordings of every task, its threshold is set on these with other operands and subjects, and
it is measured on wordings that neither has met. No operand family is on two sides.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal
from zlib import crc32

import numpy as np

from lazarus_probe.experiments.study_tasks import TASKS, Item
from lazarus_probe.tasks import language
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC, VERBAL, Fact, facts, is_answer

Side = Literal["train", "calibrate", "measure"]
SIDES: tuple[Side, ...] = ("train", "calibrate", "measure")
TRAINED_PHRASINGS = (*SYMBOLIC, "what_is_digits", "command")
HELD_OUT_PHRASINGS = tuple(name for name in VERBAL if name not in TRAINED_PHRASINGS)
# As large as the bundled models' tokenizer writes in one token; none of them was in their training.
LARGE = (101, 999)
LARGE_FACTOR = (51, 99)
LINES = ("code", "prose")


@dataclass(frozen=True)
class Asked:
    """One prompt of the mixture.

    Attributes:
        prompt: what the model is given.
        response: what is right.
        kind: `symbolic`, `verbal`, `large symbolic` or `large verbal` for arithmetic, else the task.
        template: its wording, the independent unit of what is measured.
        operation: what the calculator is to do; "" for what it is not to answer.
    """

    prompt: str
    response: str
    kind: str
    template: str
    operation: str = ""

    @property
    def calculable(self) -> bool:
        """Whether the calculator is to answer."""
        return bool(self.operation)


def is_right(asked: Asked, text: str) -> bool:
    """Whether a continuation answers a prompt: the number, the beginning of the text, or a line of its kind."""
    if asked.calculable:
        return is_answer(text, float(asked.response))
    if asked.kind in LINES:
        return TASKS["code"].is_right(text, Item(asked.prompt, asked.response, asked.kind, asked.template))
    return text.strip().startswith(asked.response.strip())


def mixture(side: Side, per_kind: int, seed: int = 0) -> list[Asked]:
    """At most `per_kind` prompts of each kind, with as many of each operation and wording as there are.

    Large operands are on the side that is measured alone.

    Raises:
        ValueError: fewer prompts of a kind than there are operations.
    """
    if per_kind < len(OPERATIONS):
        raise ValueError(f"per_kind is {per_kind}; at least {len(OPERATIONS)} are needed, one an operation")
    rng = np.random.default_rng([seed, SIDES.index(side)])
    return [*_arithmetic(side, per_kind, rng), *_others(side, per_kind, rng)]


@cache
def _known_facts(side: Side, operation: str) -> tuple[Fact, ...]:
    """Facts of the table that a small model was trained on, of one side."""
    return tuple(fact for fact in facts(operation) if _is_on(side, fact))


def _is_on(side: Side, fact: Fact) -> bool:
    low, high = fact.family
    return _third(f"{low},{high}") == side


def _third(name: str) -> Side:
    return SIDES[crc32(name.encode()) % len(SIDES)]


def _arithmetic(side: Side, per_kind: int, rng: np.random.Generator) -> Iterator[Asked]:
    phrasings = (*SYMBOLIC, *HELD_OUT_PHRASINGS) if side == "measure" else TRAINED_PHRASINGS
    symbolic = [name for name in phrasings if name in SYMBOLIC]
    verbal = [name for name in phrasings if name not in SYMBOLIC]
    known = partial(_known_facts, side)
    yield from _in_phrasings("symbolic", symbolic, known, per_kind, rng)
    yield from _in_phrasings("verbal", verbal, known, per_kind, rng)
    if side == "measure":
        large = partial(_large_facts, count=per_kind, rng=rng)
        yield from _in_phrasings("large symbolic", symbolic, large, per_kind, rng)
        yield from _in_phrasings("large verbal", verbal, large, per_kind, rng)


def _in_phrasings(
    kind: str,
    phrasings: Sequence[str],
    pool_of: Callable[[str], Sequence[Fact]],
    count: int,
    rng: np.random.Generator,
) -> Iterator[Asked]:
    per_operation = count // len(OPERATIONS)
    for name in OPERATIONS:
        pool = pool_of(name)
        for turn, i in enumerate(rng.choice(len(pool), size=per_operation, replace=False)):
            fact, phrasing = pool[i], phrasings[turn % len(phrasings)]
            template = f"{kind} {name} {phrasing}"
            yield Asked(fact.prompt(phrasing), fact.response(phrasing), kind, template, name)


def _large_facts(operation: str, count: int, rng: np.random.Generator) -> list[Fact]:
    """Facts beyond the table that a small model was trained on; quotients are whole."""
    low, high = LARGE_FACTOR if operation == "divide" else LARGE
    pairs = {
        tuple(sorted(pair, reverse=True)) for pair in rng.integers(low, high + 1, (2 * count, 2)).tolist()
    }
    different = sorted((a, b) for a, b in pairs if a != b)
    if operation == "divide":
        return [Fact("divide", a * b, b) for a, b in different]
    return [Fact(operation, a, b) for a, b in different]


def _others(side: Side, per_kind: int, rng: np.random.Generator) -> Iterator[Asked]:
    """The tasks that the calculator has nothing to do with; every other wording of each is measured alone."""
    for found in _others_by_kind().values():
        wordings = list(dict.fromkeys(asked.template for asked in found))
        measured = set(wordings[1::2])
        of_side = [
            asked
            for asked in found
            if (asked.template in measured) == (side == "measure")
            and (side == "measure" or (_third(asked.prompt) == "calibrate") == (side == "calibrate"))
        ]
        yield from _evenly([of_side[i] for i in rng.permutation(len(of_side))], per_kind)


@cache
def _others_by_kind() -> dict[str, list[Asked]]:
    by_kind: dict[str, list[Asked]] = {}
    for asked in (*_answered(), *_lines()):
        by_kind.setdefault(asked.kind, []).append(asked)
    return by_kind


def _answered() -> Iterator[Asked]:
    sources = (language.capitals, language.sentiment, language.tool_calls, language.requests)
    for example in (each for source in sources for each in source()):
        yield Asked(example.prompt, example.response, example.task, example.phrasing)


def _lines() -> Iterator[Asked]:
    for item in TASKS["code"].items(seed=0, per_label=400):
        yield Asked(item.prompt, item.response, item.label, item.family)


def _evenly(found: Sequence[Asked], count: int) -> list[Asked]:
    """At most `count`, one of each wording after the other."""
    turn: dict[str, int] = {}
    order = []
    for place, asked in enumerate(found):
        turn[asked.template] = turn.get(asked.template, -1) + 1
        order.append((turn[asked.template], place))
    return [found[place] for _, place in sorted(order)[:count]]
