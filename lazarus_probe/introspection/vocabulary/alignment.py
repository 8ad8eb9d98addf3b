"""Vocabulary alignment: does a layer's logit lens say a class word for each prompt?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.generation.continuation import before_answers
from lazarus_probe.introspection.lens.logit_lens import LensResult, logit_lens
from lazarus_probe.introspection.vocabulary.positive_controls import STRENGTH, Readable, word_read
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.statistics.rates import rate, unpaired_control
from lazarus_probe.tasks.prompts import Question, texts_and_answers

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def spellings(subject: Subject, word: str) -> list[int]:
    """The tokens that are the word alone: bare or after a space, lower case or capitalised."""
    tokens = []
    for form in (word, f" {word}", word.capitalize(), f" {word.capitalize()}"):
        try:
            tokens.append(subject.single_token(form))
        except ValueError:  # not one token in this spelling
            continue
    return tokens


@dataclass(frozen=True, eq=False)
class Naming:
    """What the lens says where each question's answer begins.

    Attributes:
        contexts: of the N questions, the tokens up to where the answer begins.
        wanted: (N, any) the tokens that name each question's operation.
        lens: after K layers.
        said: (N, K) the token on top.
        named: (N, K) whether that is a spelling of the question's operation.
    """

    contexts: Sequence[Sequence[int]]
    wanted: Sequence[Sequence[int]]
    lens: LensResult
    said: NDArray[Any]
    named: NDArray[np.bool_]


def naming(
    subject: Subject,
    questions: Sequence[Question],
    words: Mapping[str, Sequence[int]],
    layers: Sequence[int] | None = None,
) -> Naming:
    """Read the lens on questions, after some layers or all of them.

    Raises:
        ValueError: no questions, or an operation whose word is no token.
    """
    empty = [name for name, tokens in words.items() if not tokens]
    if empty:
        raise ValueError(f"no spelling of {', '.join(empty)} is a single token: choose other class words")
    contexts, _ = before_answers(subject, *texts_and_answers(questions))
    lens = logit_lens(subject, contexts, layers)
    tops, wanted = lens.top_tokens()[..., 0], [words[question.fact.operation] for question in questions]
    named = np.array([np.isin(row, tokens) for row, tokens in zip(tops, wanted, strict=True)])
    return Naming(contexts, wanted, lens, tops, named)


def vocabulary_alignment(
    subject: Subject,
    questions: Sequence[Question],
    words: Mapping[str, Sequence[int]],
    layer: int,
    readable: Readable,
    *,
    strength: float = STRENGTH,
    seed: int = 0,
) -> Measurement:
    """The rate at which the lens at a layer puts a spelling of the question's operation on top.

    The controls are positive ones, for a lens that reads nothing anywhere shows no absence: `word_put_in`, the rate at
    which the same lens at the same layer and position says the word once it was put there (`word_read`); and that of
    `readable`, the rate at which it puts the first token of answers that models have on top at the last layer.

    Args:
        subject: the model.
        questions: prompts with their facts.
        words: by operation, the tokens that name it.
        layer: where the lens reads, after the block.
        readable: prompts for the last layer, and the name of their control.
        strength: of the injected word, in norms of the state.
        seed: of the intervals.

    Raises:
        ValueError: no questions, or an operation whose word is no token.
    """
    result = naming(subject, questions, words, [layer])
    named, texts = result.named[:, 0], [question.text for question in questions]
    probabilities = [
        float(np.exp(result.lens.log_probs[i, 0, list(tokens)]).sum())
        for i, tokens in enumerate(result.wanted)
    ]
    measured = rate(
        "rate of the class word on top",
        named,
        [question.family for question in questions],
        {"word_put_in": word_read(subject, result.contexts, result.wanted, layer, strength)},
        positive=["word_put_in"],
        seed=seed,
        details={
            "layer": layer,
            "word_strength": strength,
            "mean_probability": float(np.mean(probabilities)),
            "max_probability": max(probabilities),
        },
        tokens=sum(len(subject.encode(text)) for text in texts),
        examples=some_examples(
            texts,
            [question.fact.operation for question in questions],
            [subject.decode([int(token)]) for token in result.said[:, 0]],
            named,
        ),
    )
    return with_readable(subject, measured, readable, seed)


def with_readable(subject: Subject, measured: Measurement, readable: Readable, seed: int) -> Measurement:
    """An absence with one more positive control: what the lens reads at the last layer on other prompts."""
    control = unpaired_control(
        readable.name, measured, readable.read(subject), readable.units, seed, positive=True
    )
    return replace(measured, controls=(*measured.controls, control))
