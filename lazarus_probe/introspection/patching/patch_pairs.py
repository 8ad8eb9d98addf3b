"""Pairs of prompts to patch between: their answers, the tokens that begin these, and unrelated donors as a control."""

from __future__ import annotations

import operator
import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.introspection.patching.questions import Question, named
from lazarus_probe.introspection.patching.transfer import Answer, Pair, says, shown
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

EXPRESSION = re.compile(
    r"(?P<lead>\s*)(?P<a>\d{1,9})(?P<left>\s*)(?P<op>[-+*/])(?P<right>\s*)(?P<b>\d{1,9})(?P<end>\s*=\s*)"
)
OPERATORS = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}
# Prompts whose states stand in for any foreign one, where a source is no sum to vary.
FOREIGN_COUNTRIES = (
    "Italy",
    "Japan",
    "Egypt",
    "Canada",
    "Norway",
    "Peru",
    "Greece",
    "Kenya",
    "Cuba",
    "India",
)


@dataclass(frozen=True)
class Asked:
    """A pair with its answers.

    Attributes:
        pair: the prompts and both answers.
        source_said: what the model goes on to say to the source, unpatched.
        target_said: and to the target.
        source_given: whether the source's answer is known apart from the model: computed, or given.
        target_given: whether the target's is.
        group: the independent unit.
        source_token: id of the token that begins the source's answer; None where there is no answer to predict.
        target_token: the same of the target's.
    """

    pair: Pair
    source_said: str
    target_said: str
    source_given: bool
    target_given: bool
    group: str
    source_token: int | None
    target_token: int | None

    @property
    def given(self) -> bool:
        """Whether both answers are known apart from the model."""
        return self.source_given and self.target_given

    @property
    def known(self) -> bool:
        """Whether the model gives both answers by itself, and they differ: else nothing can be transferred."""
        right = says(self.source_said, self.pair.source_answer) and says(
            self.target_said, self.pair.target_answer
        )
        return right and self.pair.source_answer != self.pair.target_answer

    @property
    def tokens_differ(self) -> bool:
        """Whether the two answers can be told by their first tokens."""
        return None not in (self.source_token, self.target_token) and self.source_token != self.target_token


def exact_answer(prompt: str) -> float | None:
    """The result of a prompt `a op b =`, in any spacing; None for other prompts, and for what has no short decimal."""
    found = EXPRESSION.fullmatch(prompt)
    if found is None or (found["op"] == "/" and int(found["b"]) == 0):
        return None
    exact = (
        Fraction(int(found["a"]), int(found["b"]))
        if found["op"] == "/"
        else Fraction(OPERATORS[found["op"]](int(found["a"]), int(found["b"])))
    )
    short = (exact * 1000).denominator == 1
    return float(exact) if short else None


def as_answer(text: str) -> Answer:
    """A number where the whole text is one, else the text."""
    number = _number(text)
    return number if number is not None and re.fullmatch(r"[\s\d.,\u202f\u00a0-]+", text) else text


def _number(text: str) -> float | None:
    """The number that a text begins with, unless it has more digits than a float can resolve."""
    number = parse_number(text)
    return number if number is not None and abs(number) < 1e15 else None


def answered(subject: Subject, questions: Sequence[Question], max_tokens: int) -> list[Asked]:
    """Each pair with its answers: given, else computed, else what the model itself says, up to the first stop.

    Raises:
        ValueError: no pairs.
    """
    said = greedy(
        subject, [prompt for asked in questions for prompt in (asked.source, asked.target)], max_tokens
    )
    return [
        _asked(subject, question, said[2 * i], said[2 * i + 1], i) for i, question in enumerate(questions)
    ]


def _asked(subject: Subject, question: Question, source_said: str, target_said: str, number: int) -> Asked:
    source, source_given = _expected(question.source, question.expected_source, source_said)
    target, target_given = _expected(question.target, question.expected_target, target_said)
    return Asked(
        Pair(question.source, question.target, source, target),
        source_said,
        target_said,
        source_given,
        target_given,
        question.group or _family(question) or f"pair {number}",
        _first_token(subject, question.target, source, source_said, target_said),
        _first_token(subject, question.target, target, target_said, target_said),
    )


def _expected(prompt: str, given: str | None, said: str) -> tuple[Answer, bool]:
    if given is not None:
        return as_answer(given), True
    computed = exact_answer(prompt)
    if computed is not None:
        return computed, True
    number = _number(said)
    return (number if number is not None else _up_to_stop(said)), False


def _up_to_stop(said: str) -> str:
    """The answer in a completion: up to the end of its first line or sentence."""
    return re.split(r"[\n.!?;,]", said.strip(), maxsplit=1)[0].strip()


def _family(question: Question) -> str | None:
    found = EXPRESSION.fullmatch(question.source)
    return None if found is None else " and ".join(sorted((found["a"], found["b"]), key=int))


def _first_token(subject: Subject, prompt: str, answer: Answer, said: str, target_said: str) -> int | None:
    """The token that begins an answer after the target prompt, spelt as the model spells it where it gives it."""
    lead = " " if target_said.startswith(" ") else ""
    text = said if says(said, answer) and said.strip() else f"{lead}{shown(answer)}"
    if not text.strip():
        return min(subject.eos_token_ids, default=None)
    before, whole = subject.encode(prompt), subject.encode(prompt + text)
    if whole[: len(before)] == before and len(whole) > len(before):
        return whole[len(before)]
    ids = subject.pieces(text)
    return ids[0] if ids else None


def foreign_sources(subject: Subject, asked: Asked, count: int, max_tokens: int, seed: int) -> list[str]:
    """Unrelated donors: prompts like a pair's source, whose answers are neither of the pair's.

    A sum is drawn with other operands of as many digits; for other sources they are questions for capitals.
    """
    pair, found = asked.pair, EXPRESSION.fullmatch(asked.pair.source)
    own = (pair.source_answer, pair.target_answer)
    if found is not None:
        drawn = _varied(found, np.random.default_rng(seed), 8 * count)
        kept = [prompt for prompt in drawn if exact_answer(prompt) not in own]
    else:
        drawn = [f"The capital of {country} is" for country in FOREIGN_COUNTRIES]
        said = greedy(subject, drawn, max_tokens)
        kept = [
            prompt
            for prompt, text in zip(drawn, said, strict=True)
            if prompt != pair.source and not any(says(text, answer) for answer in own)
        ]
    length = len(subject.encode(pair.source))
    alike = [prompt for prompt in kept if len(subject.encode(prompt)) == length]
    return list(dict.fromkeys(alike or kept))[:count]


def _varied(found: re.Match[str], rng: np.random.Generator, count: int) -> list[str]:
    def number(like: str) -> int:
        low = 10 ** (len(like) - 1)
        return int(rng.integers(max(2, low), 10 * low))

    return [
        f"{found['lead']}{number(found['a'])}{found['left']}{found['op']}{found['right']}{number(found['b'])}{found['end']}"
        for _ in range(count)
    ]


def foreign_pairs(subject: Subject, asked: Sequence[Asked], seed: int, equal: bool = False) -> list[str]:
    """For each pair the source of another with another answer, of equal token length where there is one.

    Raises:
        ValueError: all sources have one answer; or with `equal`, no other of a pair's length has another.
    """
    rng = np.random.default_rng(seed)
    lengths = [len(subject.encode(each.pair.source)) for each in asked]
    found = []
    for i, each in enumerate(asked):
        own = (each.pair.source_answer, each.pair.target_answer)
        others = [j for j, other in enumerate(asked) if other.pair.source_answer not in own]
        alike = [j for j in others if lengths[j] == lengths[i]]
        if not others or (equal and not alike):
            raise ValueError(
                f"no source{' of its length' if others else ''} has another answer than {named(each.pair.source)}; "
                "give pairs with different answers"
            )
        found.append(asked[int(rng.choice(alike or others))].pair.source)
    return found
