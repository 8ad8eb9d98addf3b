"""The tokens that all prompts of a batch begin with, run once: worked examples, or the start of a chat."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.forward_pass import keeps_keys, new_cache, repeat_rows
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import is_tapped

SHARED = 8  # tokens from which on a second call is worth it


def run_shared_prefix(subject: Subject, tokens: mx.array, most: int) -> tuple[list[Any], int]:
    """Run what rows (B, L) begin with alike once, for all of them.

    Args:
        subject: the model.
        tokens: (B, L) the rows.
        most: tokens at most; less than L, for there is to be something left.

    Returns:
        A cache of the model, and how many tokens of each row it holds: 0, or at least 8.
    """
    cache = new_cache(subject.model)
    length = min(shared_length(tokens), most)
    if len(tokens) == 1 or length < SHARED or not runs_in_parts(subject, cache):
        return cache, 0
    subject.model(tokens[:1, :length], cache=cache)
    repeat_rows(cache, np.zeros(len(tokens), np.intp))
    return cache, length


def runs_in_parts(subject: Subject, cache: list[Any]) -> bool:
    """Whether a prompt may be run in parts: not within hooks, and not where a cache keeps more than keys and values."""
    return not is_tapped(subject.model) and all(map(keeps_keys, cache))


def shared_length(tokens: mx.array) -> int:
    """How many tokens rows (B, L) begin with alike."""
    rows = np.array(tokens)
    return int(np.logical_and.accumulate((rows == rows[:1]).all(axis=0)).sum())
