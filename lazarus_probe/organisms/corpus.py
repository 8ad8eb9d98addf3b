"""What the organism learns, and what is kept from it.

Two things are held out of training, drawn once with a fixed seed and listed in `held_out.json`: a tenth of
the fact families of `+` and `-` (7+8, 8+7, 15-7 and 15-8 go together, in every phrasing), and some
combinations of a phrasing with what it is about.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from lazarus_probe.spelling import one_of
from lazarus_probe.tasks import arithmetic, language

SEED = 20260101
HELD_OUT_SHARE = 0.1

# How often each task is drawn; `*` has no structure to share and gets the most.
MIXTURE = {
    "multiply": 0.30, "add": 0.15, "subtract": 0.17, "divide": 0.20,
    "capital": 0.03, "sentiment": 0.03, "tool": 0.03, "refusal": 0.02, "help": 0.02,
    "english": 0.03, "code": 0.02,
}  # fmt: skip
PHRASING_WEIGHT = {"spaced": 4.0, "compact": 4.0}
CHAT_SHARE = 0.2

# Verbal phrasings that an operation is never asked in; the other operations show the words.
HELD_OUT_PHRASINGS = (("how_much", "multiply"), ("how_much", "subtract"), ("is", "add"), ("is", "divide"))


@dataclass(frozen=True)
class Line:
    """One training text: a prompt and its response, the response being what is learned at full weight."""

    task: str
    phrasing: str
    prompt: str
    response: str


@dataclass(frozen=True)
class Split:
    """Lines of one task, trained on and held out."""

    trained: tuple[Line, ...]
    held_out: tuple[Line, ...]


@cache
def held_out_families() -> frozenset[tuple[int, int]]:
    """The unordered pairs of parts whose `+` and `-` facts are never trained on."""
    small = [(a, b) for a in range(1, 51) for b in range(a, 51)]
    large = [(a, b) for a in range(1, 51) for b in range(51, 100)]
    rng = random.Random(SEED)  # noqa: S311 - a split, not a secret
    return frozenset(
        p for pairs in (small, large) for p in rng.sample(pairs, round(len(pairs) * HELD_OUT_SHARE))
    )


def is_held_out(fact: arithmetic.Fact) -> bool:
    """Whether a fact is kept from training in every phrasing."""
    return fact.operation in ("add", "subtract") and fact.family in held_out_families()


@cache
def arithmetic_split(operation: str) -> Split:
    """Every fact of one operation in every phrasing; held out if the fact or the phrasing is."""
    trained: list[Line] = []
    held_out: list[Line] = []
    for fact in arithmetic.facts(operation):
        for phrasing in arithmetic.PHRASINGS:
            line = Line(operation, phrasing, fact.prompt(phrasing), fact.response(phrasing))
            in_held_out = is_held_out(fact) or (phrasing, operation) in HELD_OUT_PHRASINGS
            (held_out if in_held_out else trained).append(line)
    return Split(tuple(trained), tuple(held_out))


@cache
def language_split(task: str) -> Split:
    """A language task; a tenth of its (phrasing, subject) combinations is held out, plain text excepted."""
    sources = {"capital": language.capitals, "sentiment": language.sentiment, "tool": language.tool_calls,
               "refusal": language.requests, "help": language.requests, "english": language.english,
               "code": language.code}  # fmt: skip
    examples = [e for e in sources[task]() if e.task == task]
    lines = [Line(task, e.phrasing, e.prompt, e.response) for e in examples]
    held_out_lines: set[int] = set()
    if task not in ("english", "code"):
        shared = [i for i, e in enumerate(examples) if e.subject != "here"]
        rng = random.Random(f"{SEED} {task}")  # noqa: S311
        held_out_lines = set(rng.sample(shared, round(len(shared) * HELD_OUT_SHARE)))
    trained = tuple(line for i, line in enumerate(lines) if i not in held_out_lines)
    return Split(trained, tuple(line for i, line in enumerate(lines) if i in held_out_lines))


def split(task: str) -> Split:
    """The trained and held-out lines of one task of the mixture."""
    if task not in MIXTURE:
        raise ValueError(f"unknown task {task!r}; {one_of(task, MIXTURE)}")
    return arithmetic_split(task) if task in arithmetic.OPERATIONS else language_split(task)


def sample(rng: random.Random, size: int) -> list[Line]:
    """Draw training lines from the mixture."""
    tasks = rng.choices(list(MIXTURE), list(MIXTURE.values()), k=size)
    return [_draw(rng, task) for task in tasks]


@cache
def _by_phrasing(task: str) -> tuple[tuple[tuple[Line, ...], ...], tuple[float, ...]]:
    lines: dict[str, list[Line]] = {}
    for line in split(task).trained:
        lines.setdefault(line.phrasing if task in arithmetic.OPERATIONS else "", []).append(line)
    weights = tuple(PHRASING_WEIGHT.get(phrasing, 1.0) for phrasing in lines)
    return tuple(map(tuple, lines.values())), weights


def _draw(rng: random.Random, task: str) -> Line:
    pools, weights = _by_phrasing(task)
    return rng.choice(rng.choices(pools, weights)[0])


def every_text() -> Iterator[str]:
    """All trained texts, for building the vocabulary."""
    for task in MIXTURE:
        for line in split(task).trained:
            yield line.prompt + line.response
