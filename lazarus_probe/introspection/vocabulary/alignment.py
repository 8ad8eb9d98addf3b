"""Vocabulary alignment: does a layer's logit lens read the class word of a prompt?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.generation.continuation import before_answers
from lazarus_probe.introspection.lens.logit_lens import LensResult, logit_lens
from lazarus_probe.introspection.vocabulary.positive_controls import STRENGTH, Readable, word_read
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.rates import rate, unpaired_control
from lazarus_probe.tasks.prompts import Question, texts_and_answers

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class Naming:
    """The lens at the position before each question's answer.

    Attributes:
        contexts: (N, any) tokens of the questions up to the answer.
        targets: (N, any) the tokens that name each question's operation.
        lens: after K layers.
        tops: (N, K) top tokens.
        named: (N, K) whether the top token is a spelling of the question's operation.
    """

    contexts: Sequence[Sequence[int]]
    targets: Sequence[Sequence[int]]
    lens: LensResult
    tops: NDArray[Any]
    named: NDArray[np.bool_]


def naming(
    subject: Subject,
    questions: Sequence[Question],
    words: Mapping[str, Sequence[int]],
    layers: Sequence[int] | None = None,
) -> Naming:
    """Read the lens on questions, by default after all layers.

    Raises:
        ValueError: no questions, or an operation whose word is not a single token.
    """
    empty = [name for name, tokens in words.items() if not tokens]
    if empty:
        raise ValueError(f"no spelling of {', '.join(empty)} is a single token: choose other class words")
    contexts, _ = before_answers(subject, *texts_and_answers(questions))
    lens = logit_lens(subject, contexts, layers)
    tops, targets = lens.top_tokens()[..., 0], [words[question.fact.operation] for question in questions]
    named = np.array([np.isin(row, tokens) for row, tokens in zip(tops, targets, strict=True)])
    return Naming(contexts, targets, lens, tops, named)


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

    The controls are positive, as a lens that reads nothing cannot show an absence: `word_put_in`, the rate at which the
    same lens at the same layer and position reads the word after it is injected (`word_read`); and that of `readable`,
    the rate at which the lens at the last layer puts all tokens of answers that models know on top.

    Args:
        subject: the model.
        questions: prompts with their facts.
        words: the tokens that name each operation, by operation.
        layer: the block after which the lens reads.
        readable: prompts for the last layer, and the name of their control.
        strength: of the injected word, in norms of the state.
        seed: of the intervals.

    Raises:
        ValueError: no questions, or an operation whose word is not a single token.
    """
    result = naming(subject, questions, words, [layer])
    named, log_probs = result.named[:, 0], result.lens.log_probs[:, 0]
    probabilities = [
        float(np.exp(log_probs[i, list(tokens)]).sum()) for i, tokens in enumerate(result.targets)
    ]
    return _measured(
        subject,
        "rate of the class word on top",
        questions,
        named,
        result.tops[:, 0],
        word_read(subject, result.contexts, result.targets, layer, strength),
        readable,
        seed,
        details={
            "layer": layer,
            "word_strength": strength,
            "mean_probability": float(np.mean(probabilities)),
            "max_probability": max(probabilities),
        },
    )


def vocabulary_scan(
    subject: Subject,
    questions: Sequence[Question],
    words: Mapping[str, Sequence[int]],
    readable: Readable,
    *,
    strength: float = STRENGTH,
    seed: int = 0,
) -> Measurement:
    """The rate at which the lens puts a spelling of the question's operation on top at any layer.

    Counting a prompt that is named at any layer needs no choice of a layer. The controls are the positive ones of
    `vocabulary_alignment`; `word_put_in` is the share of the layers at which an injected word is read. The arguments
    and errors are those of `vocabulary_alignment`.
    """
    result = naming(subject, questions, words)
    rates, layers = result.named.mean(axis=0), range(subject.num_layers)
    injected = np.stack(
        [word_read(subject, result.contexts, result.targets, layer, strength) for layer in layers]
    )
    read, x = injected.mean(axis=1), tuple(map(float, layers))
    return _measured(
        subject,
        "rate of the class word on top at any layer",
        questions,
        np.asarray(result.named.any(axis=1)),
        result.tops[np.arange(len(questions)), result.named.argmax(axis=1)],
        injected.mean(axis=0),
        readable,
        seed,
        details={
            "most_at_layer": int(rates.argmax()),
            "most": float(rates.max()),
            "word_strength": strength,
            "word_read_least_at_layer": int(read.argmin()),
        },
        curves=(
            Curve("score", x, tuple(map(float, rates))),
            Curve("word_put_in", x, tuple(map(float, read))),
        ),
    )


def _measured(
    subject: Subject,
    unit: str,
    questions: Sequence[Question],
    named: NDArray[np.bool_],
    tops: NDArray[Any],
    injected: NDArray[Any],
    readable: Readable,
    seed: int,
    *,
    details: Mapping[str, Any],
    curves: tuple[Curve, ...] = (),
) -> Measurement:
    """The rate of questions whose operation is named, with both positive controls."""
    texts = [question.text for question in questions]
    measured = rate(
        unit,
        named,
        [question.family for question in questions],
        {"word_put_in": injected},
        positive=["word_put_in"],
        seed=seed,
        details=details,
        tokens=sum(len(subject.encode(text)) for text in texts),
        examples=some_examples(
            texts,
            [question.fact.operation for question in questions],
            [subject.decode([int(token)]) for token in tops],
            named,
        ),
        curves=curves,
    )
    control = unpaired_control(
        readable.name, measured, readable.read(subject), readable.units, seed, positive=True
    )
    return replace(measured, controls=(*measured.controls, control))
