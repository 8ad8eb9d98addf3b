"""Vocabulary alignment at all layers at once: does any layer's logit lens say a class word?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from lazarus_probe.introspection.rates import rate
from lazarus_probe.introspection.vocabulary import naming
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.tasks.prompts import Question

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
    found = naming(subject, questions, words)
    anywhere, rates = found.named.any(axis=1), found.named.mean(axis=0)
    shown = [said[named.argmax()] for said, named in zip(found.said, found.named, strict=True)]
    texts = [question.text for question in questions]
    return rate(
        "rate of the class word on top at any layer",
        anywhere,
        [question.family for question in questions],
        {"answer_at_last_layer": found.answered[:, -1]},
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
