"""Vocabulary alignment: does a layer's logit lens say a class word for each prompt?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.continuation import before_answers
from lazarus_probe.introspection.logit_lens import LensResult, logit_lens
from lazarus_probe.introspection.rates import rate
from lazarus_probe.statistics.measurement import Measurement, some_examples
from lazarus_probe.tasks.prompts import Question, texts_and_answers

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def spellings(subject: Subject, word: str) -> list[int]:
    """The tokens that are the word alone: bare or after a space, lower case or capitalised."""
    found = []
    for form in (word, f" {word}", word.capitalize(), f" {word.capitalize()}"):
        try:
            found.append(subject.single_token(form))
        except ValueError:  # not one token in this spelling
            continue
    return found


@dataclass(frozen=True, eq=False)
class Naming:
    """What the lens says where each question's answer begins.

    Attributes:
        lens: of the N questions, after K layers.
        said: (N, K) the token on top.
        named: (N, K) whether that is a spelling of the question's operation.
        answered: (N, K) whether that is the first token of its answer.
    """

    lens: LensResult
    said: NDArray[Any]
    named: NDArray[np.bool_]
    answered: NDArray[np.bool_]


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
    contexts, firsts = before_answers(subject, *texts_and_answers(questions))
    lens = logit_lens(subject, contexts, layers)
    said = lens.top_tokens()[..., 0]
    named = np.array([np.isin(row, words[q.fact.operation]) for row, q in zip(said, questions, strict=True)])
    return Naming(lens, said, named, said == np.array(firsts)[:, None])


def vocabulary_alignment(
    subject: Subject,
    questions: Sequence[Question],
    words: Mapping[str, Sequence[int]],
    layer: int,
    seed: int = 0,
) -> Measurement:
    """The rate at which the lens at a layer puts a spelling of the question's operation on top.

    The control is a positive one: `answer_at_last_layer`, the rate at which the same lens, at the last layer, puts the
    first token of the true answer on top. A lens that reads nothing anywhere shows no absence.

    Args:
        subject: the model.
        questions: prompts with their facts.
        words: by operation, the tokens that name it.
        layer: where the lens reads, after the block.
        seed: of the intervals.

    Raises:
        ValueError: no questions, or an operation whose word is no token.
    """
    found = naming(subject, questions, words, [layer, subject.num_layers - 1])
    named = found.named[:, 0]
    probabilities = [
        float(np.exp(found.lens.log_probs[i, 0, list(words[q.fact.operation])]).sum())
        for i, q in enumerate(questions)
    ]
    return rate(
        "rate of the class word on top",
        named,
        [question.family for question in questions],
        {"answer_at_last_layer": found.answered[:, 1]},
        positive=["answer_at_last_layer"],
        seed=seed,
        details={
            "layer": layer,
            "mean_probability": float(np.mean(probabilities)),
            "max_probability": max(probabilities),
        },
        tokens=sum(len(subject.encode(question.text)) for question in questions),
        examples=some_examples(
            [question.text for question in questions],
            [question.fact.operation for question in questions],
            [subject.decode([int(token)]) for token in found.said[:, 0]],
            named,
        ),
    )
