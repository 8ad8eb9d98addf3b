"""Prompts as token ids, batched by equal length: nothing that is measured is padded, so no mask can be wrong."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from operator import index as as_index
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Prompt = str | Sequence[int]

TOKENS_PER_BATCH = 4096


def by_length(
    encoded: Sequence[Sequence[int]], limit: int = TOKENS_PER_BATCH, most: int | None = None
) -> Iterator[tuple[list[int], mx.array]]:
    """Batches of prompts of equal length, the shortest first, each prompt in exactly one.

    Args:
        encoded: token ids of each prompt.
        limit: tokens in a batch at most; a single longer prompt is a batch of its own.
        most: prompts in a batch at most, for what is held of each over the whole vocabulary.

    Returns:
        Pairs of the prompts' indices in `encoded` and their tokens (B, L).

    Raises:
        ValueError: there are no prompts, or one has no tokens.

    Example:
        >>> from lazarus_probe.subject import by_length
        >>> encoded = [subject.encode(prompt) for prompt in ("7*8=", "Hello", "6*9=")]
        >>> [(indices, tokens.shape) for indices, tokens in by_length(encoded)]
        [([1], (1, 2)), ([0, 2], (2, 5))]
    """
    return (
        (indices, mx.array([[int(token) for token in encoded[index]] for index in indices]))
        for indices in rows_by_length(encoded, limit, most)
    )


def rows_by_length(
    encoded: Sequence[Sequence[int]], limit: int = TOKENS_PER_BATCH, most: int | None = None
) -> list[list[int]]:
    """The indices of the prompts of each batch of `by_length`, which has its arguments and errors."""
    if len(encoded) == 0:
        raise ValueError("no prompts to batch; give at least one")
    buckets: dict[int, list[int]] = {}
    for index, ids in enumerate(encoded):
        if len(ids) == 0:
            raise ValueError(f"prompt {index} has no tokens; give at least one token a prompt")
        buckets.setdefault(len(ids), []).append(index)
    batches = []
    for length in sorted(buckets):
        rows = max(1, min(limit // length, most or limit))
        batches += [buckets[length][start : start + rows] for start in range(0, len(buckets[length]), rows)]
    return batches


def encode_all(subject: Subject, prompts: Sequence[Prompt]) -> list[list[int]]:
    """Token ids of each prompt; a prompt that is already token ids is checked and kept.

    Raises:
        ValueError: an empty prompt, or a token id outside the vocabulary.
        TypeError: `prompts` is one string rather than a sequence of them, or a token id is no whole number.
    """
    if isinstance(prompts, str):
        raise TypeError(f"prompts is one string, {prompts[:40]!r}; give a list of prompts")
    return [
        subject.encode(prompt) if isinstance(prompt, str) else _checked(prompt, subject.anatomy.vocab_size)
        for prompt in prompts
    ]


def as_tokens(subject: Subject, prompts: Any) -> mx.array:
    """Tokens (B, L) from a prompt, prompts of equal length, token ids, or an array of them.

    Raises:
        ValueError: nothing was given, the lengths differ, or a token id is outside the vocabulary.

    Example:
        >>> from lazarus_probe.subject import as_tokens
        >>> as_tokens(subject, ["7*8=", "6*9="]).shape
        (2, 5)
    """
    encoded = encode_some(subject, prompts)
    lengths = sorted({len(ids) for ids in encoded})
    if len(lengths) > 1:
        raise ValueError(
            f"the prompts have {lengths[0]} to {lengths[-1]} tokens and one run needs equal lengths; "
            "use `trace`, `collect`, or batch them with `by_length`"
        )
    return mx.array(encoded)


def encode_some(subject: Subject, prompts: Any) -> list[list[int]]:
    """Token ids of a prompt, of several, or of an array (L,) or (B, L) of them.

    Raises:
        ValueError: nothing was given, an empty prompt, or a token id outside the vocabulary.
    """
    if isinstance(prompts, mx.array | np.ndarray):
        prompts = prompts.tolist()
    if isinstance(prompts, str) or (len(prompts) > 0 and isinstance(prompts[0], int | np.integer)):
        prompts = [prompts]
    encoded = encode_all(subject, prompts)
    if not encoded:
        raise ValueError("no prompts to run; give at least one")
    return encoded


def _token_id(token: Any) -> int:
    try:
        return as_index(token)
    except TypeError:
        raise TypeError(
            f"{token!r} of type {type(token).__name__} is no token id; give whole numbers"
        ) from None


def _checked(ids: Sequence[int], vocab_size: int) -> list[int]:
    tokens = [_token_id(token) for token in ids]
    if not tokens:
        raise ValueError("a prompt has no tokens; give at least one token a prompt")
    outside = [token for token in tokens if not 0 <= token < vocab_size]
    if outside:
        # mlx does not check: an embedding row past the end is whatever lies there in memory.
        raise ValueError(f"token id {outside[0]} is outside the vocabulary, 0 to {vocab_size - 1}")
    return tokens
