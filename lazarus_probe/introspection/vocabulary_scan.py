"""Vocabulary alignment at all layers at once: does any layer's logit lens say a class word?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.introspection.continuation import before_answers
from lazarus_probe.introspection.logit_lens import logit_lens
from lazarus_probe.introspection.rates import rate
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.tasks.prompts import Question, texts_and_answers

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def vocabulary_scan(
    subject: Subject, questions: Sequence[Question], words: Mapping[str, Sequence[int]], seed: int = 0
) -> Measurement:
    """The rate at which the lens puts a spelling of the question's operation on top at one layer or another.

    Counting a prompt that is named anywhere needs no choice of a layer. The control is a positive one:
    `answer_at_last_layer`, the rate at which the same lens, at the last layer, puts the answer's first token on top.

    Args:
        subject: the model.
        questions: prompts with their facts.
        words: by operation, the tokens that name it; at least one each.
        seed: of the intervals.

    Raises:
        ValueError: no questions, or an operation whose word is no token.
    """
    empty = [name for name, tokens in words.items() if not tokens]
    if empty:
        raise ValueError(f"no spelling of {', '.join(empty)} is a single token: choose other class words")
    texts, answers = texts_and_answers(questions)
    contexts, firsts = before_answers(subject, texts, answers)
    top = logit_lens(subject, contexts).top_tokens()[..., 0]
    named = np.array([np.isin(row, words[q.fact.operation]) for row, q in zip(top, questions, strict=True)])
    anywhere, answered = named.any(axis=1), top[:, -1] == np.array(firsts)
    rates = named.mean(axis=0)
    shown = [row[named_at.argmax()] for row, named_at in zip(top, named, strict=True)]
    return rate(
        "rate of the class word on top at any layer",
        anywhere,
        [question.family for question in questions],
        {"answer_at_last_layer": answered},
        positive=["answer_at_last_layer"],
        seed=seed,
        details={"most_at_layer": int(rates.argmax()), "most": float(rates.max())},
        tokens=sum(len(subject.encode(text)) for text in texts),
        examples=some_examples(
            texts,
            [question.fact.operation for question in questions],
            [subject.decode([int(token)]) for token in shown],
            anywhere,
        ),
        curves=(Curve("score", tuple(range(len(rates))), tuple(map(float, rates))),),
    )
