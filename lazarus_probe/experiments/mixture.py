"""The data that routers are trained, calibrated and measured on: arithmetic mixed with all other tasks.

A signal is trained on some phrasings of every task, its threshold is set on the same phrasings with other operands and
subjects, and it is measured on held-out phrasings. No operand family is on two sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Literal
from zlib import crc32

import numpy as np

from lazarus_probe.asking.behaviours import calls_tool, refuses
from lazarus_probe.experiments.study_tasks import TASKS, Item
from lazarus_probe.introspection.generation.answer_onset import onset
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
# Prompts measured of one phrasing of a task that is no arithmetic: with many of a few phrasings an interval would rest
# on those few.
PER_TEMPLATE = 3


@dataclass(frozen=True)
class MixtureExample:
    """One prompt of the mixture.

    Attributes:
        prompt: the model's input.
        response: the correct answer.
        kind: `symbolic`, `verbal`, `large symbolic` or `large verbal` for arithmetic, else the task.
        template: its phrasing, the independent unit of the measurements.
        operation: for the calculator; "" for prompts that it should not answer.
    """

    prompt: str
    response: str
    kind: str
    template: str
    operation: str = ""

    @property
    def calculable(self) -> bool:
        """Whether the calculator should answer."""
        return bool(self.operation)


def is_right(example: MixtureExample, text: str) -> bool:
    """Whether a continuation is right, in any format: the number, the name, the sentiment or the line.

    A tool is called for what was asked about; a harmful request is refused, and a harmless one answered by something
    that is about it.
    """
    if example.calculable:
        return is_answer(text, float(example.response), example.prompt)
    if example.kind in LINES:
        return TASKS["code"].is_right(
            text, Item(example.prompt, example.response, example.kind, example.template)
        )
    response = example.response.strip()
    if example.kind == "sentiment":
        return TASKS["sentiment"].is_right(
            text, Item(example.prompt, example.response, response, example.template)
        )
    if example.kind == "tool":
        (argument,) = re.findall(r"\((\w+)\)", response)
        return calls_tool(text) and (argument == "here" or onset(text, argument) is not None)
    if example.kind == "refusal":
        return refuses(text)
    if example.kind == "help":
        about = list(re.findall(r"\w{4,}", response.partition(" how to ")[2]))
        helps = any(onset(text, word) is not None for word in about)
        return helps and not refuses(text) and not calls_tool(text)
    return onset(text, response) is not None


def mixture(side: Side, per_kind: int, seed: int = 0) -> list[MixtureExample]:
    """At most `per_kind` prompts of each kind, balanced over operations and phrasings.

    Large operands occur on the measured side only.

    Raises:
        ValueError: fewer prompts of a kind than there are operations.
    """
    if per_kind < len(OPERATIONS):
        raise ValueError(f"per_kind is {per_kind}; at least {len(OPERATIONS)} are needed, one per operation")
    rng = np.random.default_rng([seed, SIDES.index(side)])
    return [*_arithmetic(side, per_kind, rng), *_others(side, per_kind, rng)]


@cache
def _trained_facts(side: Side, operation: str) -> tuple[Fact, ...]:
    """The facts of one side, from the table that the small models were trained on."""
    return tuple(fact for fact in facts(operation) if _is_on(side, fact))


def _is_on(side: Side, fact: Fact) -> bool:
    low, high = fact.family
    return _third(f"{low},{high}") == side


def _third(name: str) -> Side:
    return SIDES[crc32(name.encode()) % len(SIDES)]


def _arithmetic(side: Side, per_kind: int, rng: np.random.Generator) -> Iterator[MixtureExample]:
    phrasings = (*SYMBOLIC, *HELD_OUT_PHRASINGS) if side == "measure" else TRAINED_PHRASINGS
    symbolic = [name for name in phrasings if name in SYMBOLIC]
    verbal = [name for name in phrasings if name not in SYMBOLIC]
    trained_facts = partial(_trained_facts, side)
    yield from _in_phrasings("symbolic", symbolic, trained_facts, per_kind, rng)
    yield from _in_phrasings("verbal", verbal, trained_facts, per_kind, rng)
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
) -> Iterator[MixtureExample]:
    per_operation = count // len(OPERATIONS)
    for name in OPERATIONS:
        pool = pool_of(name)
        for turn, i in enumerate(rng.choice(len(pool), size=per_operation, replace=False)):
            fact, phrasing = pool[i], phrasings[turn % len(phrasings)]
            template = f"{kind} {name} {phrasing}"
            yield MixtureExample(fact.prompt(phrasing), fact.response(phrasing), kind, template, name)


def _large_facts(operation: str, count: int, rng: np.random.Generator) -> list[Fact]:
    """Facts outside the table that the small models were trained on; quotients are integers."""
    low, high = LARGE_FACTOR if operation == "divide" else LARGE
    pairs = {
        tuple(sorted(pair, reverse=True)) for pair in rng.integers(low, high + 1, (2 * count, 2)).tolist()
    }
    different = sorted((a, b) for a, b in pairs if a != b)
    if operation == "divide":
        return [Fact("divide", a * b, b) for a, b in different]
    return [Fact(operation, a, b) for a, b in different]


def _others(side: Side, per_kind: int, rng: np.random.Generator) -> Iterator[MixtureExample]:
    """The tasks that the calculator cannot answer; every second phrasing of each is held out for the measured side."""
    for examples in _others_by_kind().values():
        phrasings = list(dict.fromkeys(example.template for example in examples))
        measured = set(phrasings[1::2])
        of_side = [
            example
            for example in examples
            if (example.template in measured) == (side == "measure")
            and (side == "measure" or (_third(example.prompt) == "calibrate") == (side == "calibrate"))
        ]
        shuffled = [of_side[i] for i in rng.permutation(len(of_side))]
        yield from _evenly(shuffled, per_kind, PER_TEMPLATE if side == "measure" else per_kind)


@cache
def _others_by_kind() -> dict[str, list[MixtureExample]]:
    by_kind: dict[str, list[MixtureExample]] = {}
    for example in (*_answered(), *_lines()):
        by_kind.setdefault(example.kind, []).append(example)
    return by_kind


def _answered() -> Iterator[MixtureExample]:
    sources = (language.capitals, language.sentiment, language.tool_calls, language.requests)
    for source in sources:
        for example in source():
            yield MixtureExample(example.prompt, example.response, example.task, example.phrasing)


def _lines() -> Iterator[MixtureExample]:
    for item in TASKS["code"].items(seed=0, per_label=400):
        yield MixtureExample(item.prompt, item.response, item.label, item.family)


def _evenly(examples: Sequence[MixtureExample], count: int, per_template: int) -> list[MixtureExample]:
    """At most `count`, taking one of each phrasing in turn, and at most so many of each."""
    turn: dict[str, int] = {}
    order = []
    for index, example in enumerate(examples):
        turn[example.template] = turn.get(example.template, -1) + 1
        order.append((turn[example.template], index))
    return [examples[index] for turn_of, index in sorted(order)[:count] if turn_of < per_template]
