"""How probable a model finds a given continuation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.subject.batches import by_length
from lazarus_probe.subject.finite import require_finite

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

ROWS = 32  # of a run; their logits over the vocabulary are held at once


def joined(subject: Subject, prompt: str, text: str) -> tuple[list[int], int]:
    """The tokens of a prompt with what continues it, and the position at which the continuation begins.

    Some tokenizers join a prompt's last space with what follows, as in ` 56`; then the continuation begins with it.

    Raises:
        ValueError: the continuation is empty, or more of the prompt than spaces is joined with it.
    """
    before, tokens = subject.encode(prompt), subject.encode(prompt + text)
    start = next(
        (i for i, pair in enumerate(zip(before, tokens, strict=False)) if pair[0] != pair[1]), len(before)
    )
    if not text or start >= len(tokens) or subject.decode(before[start:]).strip():
        raise ValueError(
            f"{text!r} does not continue {prompt!r} with tokens of its own; move its first space"
        )
    return tokens, start


def answer_start(subject: Subject, prompt: str, answer: str) -> tuple[list[int], int]:
    """The tokens of a prompt with its answer, and the position of the first that is more than spaces.

    Raises:
        ValueError: the tokenizer joins more of the prompt than spaces with the answer.
    """
    ids, start = joined(subject, prompt, answer)
    while start < len(ids) - 1 and not subject.decode([ids[start]]).strip():
        start += 1
    return ids, start


def with_answers(
    subject: Subject, prompts: Sequence[str], answers: Sequence[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """The tokens of each prompt up to where its answer begins, and those of the whole answer.

    Raises:
        ValueError: as `joined`.
    """
    pairs = [joined(subject, prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)]
    return [tokens[:start] for tokens, start in pairs], [tokens[start:] for tokens, start in pairs]


def before_answers(
    subject: Subject, prompts: Sequence[str], answers: Sequence[str]
) -> tuple[list[list[int]], list[int]]:
    """The tokens of each prompt up to where its answer begins, and the token that it begins with.

    Raises:
        ValueError: as `joined`.
    """
    contexts, whole = with_answers(subject, prompts, answers)
    return contexts, [tokens[0] for tokens in whole]


def continuation_probability(
    subject: Subject, prompts: Sequence[str], continuations: Sequence[str]
) -> NDArray[np.float64]:
    """(N,) the probability of each whole continuation after its prompt: the product over its tokens.

    The continuation is tokenised after its prompt, as the model reads it (`joined`).

    Raises:
        ValueError: no prompts, or as `joined`.
    """
    pairs = [joined(subject, prompt, text) for prompt, text in zip(prompts, continuations, strict=True)]
    return np.exp(log_probabilities(subject, pairs))


def log_probabilities(
    subject: Subject, sequences: Sequence[tuple[Sequence[int], int]]
) -> NDArray[np.float64]:
    """(N,) the log probability of what each sequence of tokens goes on with from a position on.

    Sequences that differ in their last token alone share one run of the model.

    Args:
        subject: the model.
        sequences: N sequences of tokens, each with the position that its continuation begins at, from 1.

    Raises:
        ValueError: no sequences.
    """
    contexts = list(dict.fromkeys(tuple(tokens[:-1]) for tokens, _ in sequences))
    members: dict[tuple[int, ...], list[int]] = {}
    for number, (tokens, _) in enumerate(sequences):
        members.setdefault(tuple(tokens[:-1]), []).append(number)
    values = np.empty(len(sequences))
    for indices, batch in by_length([list(context) for context in contexts]):
        for first in range(0, len(indices), ROWS):
            rows = indices[first : first + ROWS]
            numbers = [members[contexts[row]] for row in rows]
            start = min(sequences[number][1] for of_row in numbers for number in of_row)
            log_probs = _log_probs(subject, batch[first : first + ROWS], start - 1)
            for row, of_row in enumerate(numbers):
                for number in of_row:
                    tokens, begin = sequences[number]
                    at = np.arange(begin - start, len(tokens) - start)
                    values[number] = log_probs[row, at, np.array(tokens[begin:])].sum()
    return values


def _log_probs(subject: Subject, tokens: mx.array, start: int) -> NDArray[Any]:
    """(B, L - start, V) the log probabilities of the token after each position from `start` on."""
    logits = require_finite(subject, tokens, forward(subject.model, tokens)[:, start:].astype(mx.float32))
    return np.array(logits - mx.logsumexp(logits, axis=-1, keepdims=True), dtype=np.float64)
