"""Rows of random tokens, which mean nothing and so show what a model does with any text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def ordinary_tokens(subject: Subject) -> NDArray[np.int32]:
    """The ids of all tokens but the special ones."""
    special = set(getattr(subject.tokenizer, "all_special_ids", ()) or ()) | set(subject.eos_token_ids)
    size = subject.anatomy.vocab_size
    if subject.tokenizer is not None:
        size = min(size, len(subject.tokenizer.get_vocab()))
    return np.array([token for token in range(size) if token not in special], dtype=np.int32)


def word_tokens(subject: Subject) -> NDArray[np.int32]:
    """The ids of tokens that are a space and a word of at least three Latin letters; none without a tokenizer."""
    if subject.tokenizer is None:
        return np.array([], dtype=np.int32)
    texts = ((token, subject.decode([token])) for token in ordinary_tokens(subject).tolist())
    words = [token for token, text in texts if re.fullmatch(r" [A-Za-z]{3,}", text)]
    return np.array(words, dtype=np.int32)


def begin_token(subject: Subject) -> int | None:
    """The beginning-of-sequence token that the tokenizer knows, whether or not it puts it before a text."""
    token = getattr(subject.tokenizer, "bos_token_id", None)
    return None if token is None else int(token)


def random_rows(
    subject: Subject,
    length: int,
    rows: int,
    vocabulary: Sequence[int] | None = None,
    seed: int | np.random.Generator = 0,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The beginning-of-sequence token (1,), or (0,) without one, and rows (R, length) of different random tokens.

    Args:
        subject: the model.
        length: tokens of a row.
        rows: how many.
        vocabulary: token ids to draw from; all but the special tokens by default.
        seed: of the draws, or what draws.

    Raises:
        ValueError: fewer tokens to draw from than a row has.
    """
    ordinary = (
        ordinary_tokens(subject) if vocabulary is None else np.unique(np.asarray(vocabulary, dtype=np.int32))
    )
    if len(ordinary) < length:
        raise ValueError(f"length is {length}, and there are {len(ordinary)} tokens to draw from; give fewer")
    rng = np.random.default_rng(seed)
    drawn = [rng.choice(ordinary, size=length, replace=False).astype(np.int32) for _ in range(rows)]
    begin = begin_token(subject)
    return np.array([] if begin is None else [begin], dtype=np.int32), np.stack(drawn)
