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
    probabilities = np.empty(len(pairs))
    for indices, tokens in by_length([joined_tokens for joined_tokens, _ in pairs]):
        log_probs = _log_probs(subject, tokens)
        for row, index in enumerate(indices):
            probabilities[index] = np.exp(log_probs[row, pairs[index][1] - 1 :].sum())
    return probabilities


def _log_probs(subject: Subject, tokens: mx.array) -> NDArray[Any]:
    """(B, L - 1) the log probability of each token but the first."""
    logits = require_finite(subject, tokens, forward(subject.model, tokens)[:, :-1].astype(mx.float32))
    scores = mx.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
    return np.array(scores - mx.logsumexp(logits, axis=-1), dtype=np.float64)
