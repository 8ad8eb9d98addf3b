"""Pairs with the model's own completions, the tokens that begin their answers, and unrelated donors as a control."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.patching.answers import (
    EXPRESSION,
    as_answer,
    exact_answer,
    number_of,
    says,
    shown,
)
from lazarus_probe.introspection.patching.encoded_pairs import (
    EncodedPair,
    EncodedPrompt,
    encode_pairs,
    encode_prompts,
)
from lazarus_probe.introspection.patching.prompt_pairs import Answer, PromptPair, quoted
from lazarus_probe.subject.generate import greedy

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Least probability of the first token of an answer that is taken from the model itself.
LEAST_CERTAIN = 0.1
# For unrelated donors, where the source is not a calculation to vary.
FOREIGN_COUNTRIES = ("Italy", "Japan", "Egypt", "Canada", "Norway", "Peru", "Greece", "Kenya", "Cuba",
                     "India")  # fmt: skip


@dataclass(frozen=True)
class AnsweredPair(EncodedPair):
    """A pair with both answers, and the unpatched model's completions.

    Attributes:
        group: the independent unit.
        source_completion: the model's completion of the source.
        target_completion: and of the target.
        source_given: whether the source's answer is independent of the model: computed, or given.
        target_given: whether the target's is.
        source_token: id of the token that begins the source's answer; None where there is no answer to predict.
        target_token: the same for the target's.
        source_certainty: probability that the model begins its own answer to the source with, from 0 to 1; None where
            the answer is independent of the model.
        target_certainty: the same for the target's.
    """

    group: str
    source_completion: str
    target_completion: str
    source_given: bool
    target_given: bool
    source_token: int | None
    target_token: int | None
    source_certainty: float | None = None
    target_certainty: float | None = None

    @property
    def answers_given(self) -> bool:
        """Whether both answers are independent of the model."""
        return self.source_given and self.target_given

    @property
    def uncertain(self) -> str:
        """Why an answer of the model's own is none: it hardly prefers the token that begins it; empty if it does.

        An untrained model also says something, of which every next token is about as probable as any other.
        """
        for prompt, certainty in (
            (self.pair.source, self.source_certainty),
            (self.pair.target, self.target_certainty),
        ):
            if certainty is not None and certainty < LEAST_CERTAIN:
                return (
                    f"the model says what follows {quoted(prompt)} with probability {certainty:.3f} only, and below "
                    f"{LEAST_CERTAIN:g} that is no answer: give the expected ones of source and target"
                )
        return ""

    @property
    def can_transfer(self) -> bool:
        """Whether the model gives both answers by itself, and they differ: otherwise nothing can be transferred."""
        pair = self.pair
        right = says(self.source_completion, pair.source_answer) and says(
            self.target_completion, pair.target_answer
        )
        return right and pair.source_answer != pair.target_answer

    @property
    def tokens_differ(self) -> bool:
        """Whether the two answers begin with different tokens."""
        return None not in (self.source_token, self.target_token) and self.source_token != self.target_token


def answered(subject: Subject, pairs: Sequence[PromptPair], max_tokens: int) -> list[AnsweredPair]:
    """Pairs with their answers: given, or else computed, or else the model's own completion up to the first stop.

    Raises:
        ValueError: no pairs.
    """
    encoded = encode_pairs(subject, pairs)
    completions = greedy(
        subject, [prompt.ids for pair in encoded for prompt in (pair.source, pair.target)], max_tokens
    )
    with_answers = [
        _answered(subject, pair, completions[2 * i], completions[2 * i + 1], i)
        for i, pair in enumerate(encoded)
    ]
    return [pair if pair.answers_given else _with_certainty(subject, pair) for pair in with_answers]


def _with_certainty(subject: Subject, pair: AnsweredPair) -> AnsweredPair:
    """The pair, with how sure the model is of the token that begins each answer of its own."""
    run = trace(subject, [pair.source.ids, pair.target.ids])
    logits = np.stack([np.array(rows[-1].astype(mx.float32)) for rows in run.logits_of()])
    highest = np.exp(logits.max(axis=1) - np.logaddexp.reduce(logits.astype(np.float64), axis=1))
    return replace(
        pair,
        source_certainty=None if pair.source_given else float(highest[0]),
        target_certainty=None if pair.target_given else float(highest[1]),
    )


def _answered(
    subject: Subject, encoded: EncodedPair, source_completion: str, target_completion: str, number: int
) -> AnsweredPair:
    pair = encoded.pair
    source, source_given = _answer(pair.source, pair.source_answer, source_completion)
    target, target_given = _answer(pair.target, pair.target_answer, target_completion)
    match = EXPRESSION.fullmatch(pair.source)
    operands = "" if match is None else " and ".join(sorted((match["a"], match["b"]), key=int))
    return AnsweredPair(
        pair=replace(pair, source_answer=source, target_answer=target),
        source=encoded.source,
        target=encoded.target,
        group=pair.group or operands or f"pair {number}",
        source_completion=source_completion,
        target_completion=target_completion,
        source_given=source_given,
        target_given=target_given,
        source_token=_first_token(subject, encoded.target, source, source_completion, target_completion),
        target_token=_first_token(subject, encoded.target, target, target_completion, target_completion),
    )


def _answer(prompt: str, answer: Answer | None, completion: str) -> tuple[Answer, bool]:
    """The answer of a prompt, and whether it is independent of the model."""
    if answer is not None:
        return as_answer(answer) if isinstance(answer, str) else answer, True
    computed = exact_answer(prompt)
    if computed is not None:
        return computed, True
    number = number_of(completion)
    if number is not None:
        return number, False
    return re.split(r"[\n.!?;,]", completion.strip(), maxsplit=1)[0].strip(), False


def _first_token(
    subject: Subject, target: EncodedPrompt, answer: Answer, completion: str, target_completion: str
) -> int | None:
    """The token that begins an answer after the target, in the model's own spelling where it gives the answer."""
    lead = " " if target_completion.startswith(" ") else ""
    text = completion if says(completion, answer) and completion.strip() else f"{lead}{shown(answer)}"
    if not text.strip():
        return min(subject.eos_token_ids, default=None)
    before, extended = list(target.ids), subject.encode(target.text + text)
    if extended[: len(before)] == before and len(extended) > len(before):
        return extended[len(before)]
    ids = subject.pieces(text)
    return ids[0] if ids else None


def unrelated_donors(
    subject: Subject, answered_pair: AnsweredPair, count: int, max_tokens: int, seed: int
) -> list[EncodedPrompt]:
    """Prompts like a pair's source with neither of the pair's answers, of equal token length where there are any.

    A calculation gets other operands of as many digits; for other sources they are questions for capitals.
    """
    pair, match = answered_pair.pair, EXPRESSION.fullmatch(answered_pair.pair.source)
    own = (pair.source_answer, pair.target_answer)
    if match is not None:
        drawn = _varied(match, np.random.default_rng(seed), 8 * count)
        donors = encode_prompts(subject, (prompt for prompt in drawn if exact_answer(prompt) not in own))
    else:
        prompts = [f"The capital of {country} is" for country in FOREIGN_COUNTRIES]
        donors = encode_prompts(subject, (prompt for prompt in prompts if prompt != pair.source))
        completions = greedy(subject, [donor.ids for donor in donors.values()], max_tokens)
        for prompt, completion in zip(list(donors), completions, strict=True):
            if any(says(completion, answer) for answer in own):
                del donors[prompt]
    length = len(answered_pair.source.ids)
    alike = [donor for donor in donors.values() if len(donor.ids) == length]
    return (alike or list(donors.values()))[:count]


def _varied(match: re.Match[str], rng: np.random.Generator, count: int) -> list[str]:
    def number(like: str) -> int:
        low = 10 ** (len(like) - 1)
        return int(rng.integers(max(2, low), 10 * low))

    return [
        f"{match['lead']}{number(match['a'])}{match['left']}{match['op']}{match['right']}{number(match['b'])}{match['end']}"
        for _ in range(count)
    ]


def other_sources(
    pairs: Sequence[AnsweredPair], seed: int, equal_lengths: bool = False
) -> list[EncodedPrompt]:
    """By pair another pair's source with another answer, of equal token length where there is one.

    Raises:
        ValueError: all sources have one answer; or with `equal_lengths`, all of a pair's length do.
    """
    rng, donors = np.random.default_rng(seed), []
    for pair in pairs:
        own = (pair.pair.source_answer, pair.pair.target_answer)
        others = [other.source for other in pairs if other.pair.source_answer not in own]
        alike = [j for j, source in enumerate(others) if len(source.ids) == len(pair.source.ids)]
        if not others or (equal_lengths and not alike):
            raise ValueError(
                f"no source{' of its length' if others else ''} has another answer than {quoted(pair.pair.source)}; "
                "give pairs with different answers"
            )
        donors.append(others[int(rng.choice(alike or range(len(others))))])
    return donors
