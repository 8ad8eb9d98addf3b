"""Whether two models would say the same: what a small benchmark shows of a change."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

TEXTS = 16


def benchmark_texts(subject: Subject, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Token ids of a few texts sampled from the model."""
    from lazarus_probe.training.own_texts import own_texts

    return own_texts(subject, TEXTS, seed).ids


def first_choices(subject: Subject, texts: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """The likeliest next token at every position of some texts, one after another."""
    choices = [mx.argmax(subject.model(mx.array([list(ids)]))[0], axis=-1) for ids in texts]
    return np.concatenate([np.array(of_text, dtype=np.int64) for of_text in choices])


def agreement(first: NDArray[np.int64], second: NDArray[np.int64]) -> float:
    """The share of positions at which two models' first choice is the same token."""
    return float((first == second).mean())
