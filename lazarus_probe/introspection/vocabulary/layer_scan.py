"""Vocabulary alignment at all layers at once: does any layer's logit lens say a class word?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.introspection.vocabulary.alignment import naming, with_readable
from lazarus_probe.introspection.vocabulary.positive_controls import STRENGTH, Readable, word_read
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.tasks.prompts import Question

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def vocabulary_scan(
    subject: Subject,
    questions: Sequence[Question],
    words: Mapping[str, Sequence[int]],
    readable: Readable,
    *,
    strength: float = STRENGTH,
    seed: int = 0,
) -> Measurement:
    """The rate at which the lens puts a spelling of the question's operation on top at one layer or another.

    Counting a prompt that is named anywhere needs no choice of a layer. The controls are the positive ones of
    `vocabulary_alignment`; `word_put_in` is the share of the layers at which the word is read once it was put there.

    Args:
        subject: the model.
        questions: prompts with their facts.
        words: by operation, the tokens that name it; at least one each.
        readable: prompts for the last layer, and the name of their control.
        strength: of the injected word, in norms of the state.
        seed: of the intervals.

    Raises:
        ValueError: no questions, or an operation whose word is no token.
    """
    found = naming(subject, questions, words)
    anywhere, rates = found.named.any(axis=1), found.named.mean(axis=0)
    put_in = np.stack(
        [
            word_read(subject, found.contexts, found.wanted, layer, strength)
            for layer in range(subject.num_layers)
        ]
    )
    read = put_in.mean(axis=1)
    shown = [tops[named.argmax()] for tops, named in zip(found.said, found.named, strict=True)]
    texts, layers = [question.text for question in questions], tuple(map(float, range(len(rates))))
    measured = rate(
        "rate of the class word on top at any layer",
        anywhere,
        [question.family for question in questions],
        {"word_put_in": put_in.mean(axis=0)},
        positive=["word_put_in"],
        seed=seed,
        details={
            "most_at_layer": int(rates.argmax()),
            "most": float(rates.max()),
            "word_strength": strength,
            "word_read_least_at_layer": int(read.argmin()),
        },
        tokens=sum(len(subject.encode(text)) for text in texts),
        examples=some_examples(
            texts,
            [question.fact.operation for question in questions],
            [subject.decode([int(token)]) for token in shown],
            anywhere,
        ),
        curves=(
            Curve("score", layers, tuple(map(float, rates))),
            Curve("word_put_in", layers, tuple(map(float, read))),
        ),
    )
    return with_readable(subject, measured, readable, seed)
