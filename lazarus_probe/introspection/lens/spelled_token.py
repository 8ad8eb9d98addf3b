"""How probable a token is, or a word in any of its spellings, and how many tokens are more so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray


class SpelledToken(NamedTuple):
    """What distributions say of a token that has one or several spellings.

    Attributes:
        probability: (...) of all spellings together.
        rank: (...) how many tokens are more probable than the likeliest spelling; 0 is the top.
        likeliest: (...) which of the spellings that is, from 0.
    """

    probability: NDArray[Any]
    rank: NDArray[np.intp]
    likeliest: NDArray[np.intp]


def spelled_token(
    log_probs: NDArray[Any], ids: Sequence[int], exact: DTypeLike | None = None
) -> SpelledToken:
    """Probability and rank of a token in some spellings.

    Args:
        log_probs: (..., V) natural logarithms.
        ids: of the spellings, at least one.
        exact: the type that probabilities are summed in; by default that of the logarithms.
    """
    own = log_probs[..., list(ids)]
    return SpelledToken(
        np.asarray(np.exp(own, dtype=exact).sum(axis=-1)),
        rank_among(log_probs, own.max(axis=-1)),
        np.asarray(own.argmax(axis=-1)),
    )


def rank_among(log_probs: NDArray[Any], own: NDArray[Any]) -> NDArray[np.intp]:
    """How many tokens (...) of distributions (..., V) are more probable than one of log probability (...)."""
    return np.asarray((log_probs > own[..., None]).sum(axis=-1))
