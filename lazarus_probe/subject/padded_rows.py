"""Rows of different lengths in one batch of a generation, where a model is seen to compute them as it does alone.

A step of generation reads all weights, whatever the number of rows: 48 questions to SmolLM2, of 21 lengths, took four
times as long by equal length as in three batches. Nothing else is ever padded, so no mask can be wrong; here padding is
used only on a model that gave the same logits with it as without, and never inside hooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import forward, new_cache
from lazarus_probe.subject.batches import TOKENS_PER_BATCH
from lazarus_probe.subject.last_position import TOLERANCE, last_logits, relative_difference
from lazarus_probe.subject.shared_prefix import SHARED, run_shared_prefix
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import is_tapped, untapped

WIDEST = 32  # tokens of padding at most; each costs a thirtieth of a step on SmolLM2
TRIAL = (7, 3)  # tokens of each row
TRIAL_STEPS = 2


class PaddedCache:
    """A layer's keys and values, with columns of nothing after those that all rows share.

    A row's columns are `prefix` of what all rows begin with, `padding` of nothing, and what the row has of its own.

    Attributes:
        cache: mlx-lm's `KVCache`, which holds the prefix for all rows.
        prefix: columns that all rows share.
    """

    def __init__(self, cache: Any, padding: mx.array) -> None:
        self.cache, self.prefix = cache, int(cache.offset)
        # Not of mlx: arrays in a cache are forgotten where another process of a pipeline has the block.
        self._padding = np.array(padding)

    @property
    def padding(self) -> mx.array:
        """(B,) columns of nothing in each row."""
        return mx.array(self._padding)

    @property
    def offset(self) -> mx.array:
        """(B,) the position of each row's next token."""
        return self.cache.offset - self.padding

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """As mlx-lm's `KVCache`."""
        fetched: tuple[mx.array, mx.array] = self.cache.update_and_fetch(keys, values)
        return fetched

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> mx.array:  # noqa: ARG002, N803
        """(B, 1, N, S) which of S columns each of N new tokens may read: mlx-lm calls this.

        What fills a column of nothing reads itself, so that it stays finite; nobody reads it.
        """
        columns = mx.arange(self.cache.offset + N)
        queries, padding = columns[-N:, None], self.padding[:, None, None]
        nothing = (columns >= self.prefix) & (columns < self.prefix + padding)
        readable = (queries >= columns) & ~nothing
        if window_size is not None:
            skipped = mx.where(
                columns < self.prefix, padding, 0
            )  # a row's own tokens are that much closer to it
            readable = readable & (queries < columns + skipped + window_size)
        return (readable | (queries == columns))[:, None]


def padded_batches(encoded: Sequence[Sequence[int]], limit: int = TOKENS_PER_BATCH) -> Iterator[list[int]]:
    """The indices of prompts whose lengths differ by at most `WIDEST` tokens, the shortest first."""
    batch: list[int] = []
    for index in sorted(range(len(encoded)), key=lambda index: len(encoded[index])):
        length = len(encoded[index])
        if batch and (length - len(encoded[batch[0]]) > WIDEST or length * (len(batch) + 1) > limit):
            yield batch
            batch = []
        batch.append(index)
    yield batch


def start_padded(subject: Subject, rows: Sequence[Sequence[int]]) -> tuple[list[Any], mx.array]:
    """A cache of what rows begin with alike, and the tokens (B, L) that each row has of its own, padded on the left."""
    shortest = min(map(len, rows))
    begins = mx.array([list(row[:shortest]) for row in rows])
    cache, shared = run_shared_prefix(subject, begins, shortest - 1)
    own = [list(row[shared:]) for row in rows]
    longest = max(map(len, own))
    padding = mx.array([longest - len(row) for row in own])
    tokens = mx.array([[row[0]] * (longest - len(row)) + row for row in own])
    return [PaddedCache(entry, padding) for entry in cache], tokens


def can_pad(subject: Subject) -> bool:
    """Whether rows of different lengths are generated in one batch as they are alone: tried once on a model."""
    from mlx_lm.models.cache import KVCache

    if is_tapped(subject.model) or any(type(entry) is not KVCache for entry in new_cache(subject.model)):
        return False
    anatomy = subject.anatomy
    if anatomy not in _exact:
        _exact[anatomy] = _is_exact(subject)
    return _exact[anatomy]


_exact: WeakKeyDictionary[Anatomy, bool] = WeakKeyDictionary()


def _is_exact(subject: Subject) -> bool:
    """Whether two rows have, at two steps, the logits of the whole rows alone, but for what a batch rounds."""
    rng = np.random.default_rng(0)
    for begins in (0, SHARED):
        start = rng.integers(0, subject.anatomy.vocab_size, begins).tolist()
        drawn = [rng.integers(0, subject.anatomy.vocab_size, length + TRIAL_STEPS) for length in TRIAL]
        rows = [start + row.tolist() for row in drawn]
        with untapped():
            try:
                padded = _padded_logits(subject, [row[:-TRIAL_STEPS] for row in rows], drawn)
            except (ValueError, TypeError, AttributeError):  # code that wants one position for all rows
                return False
            alone = [forward(subject.model, mx.array([row[:-1]]))[0, -TRIAL_STEPS:] for row in rows]
            twice = forward(subject.model, mx.array([rows[0][:-1]] * 2))[0, -TRIAL_STEPS:]
            allowed = max(TOLERANCE, 4 * relative_difference(twice, alone[0]))
            if any(relative_difference(*pair) > allowed for pair in zip(padded, alone, strict=True)):
                return False
    return True


def _padded_logits(
    subject: Subject, rows: Sequence[Sequence[int]], drawn: Sequence[NDArray[np.int64]]
) -> mx.array:
    """(B, steps, V) logits after each of the last tokens of rows, the first after their prompts."""
    cache, tokens = start_padded(subject, rows)
    logits = [last_logits(subject, tokens, cache)]
    for step in range(TRIAL_STEPS - 1):
        new = mx.array([[int(row[step - TRIAL_STEPS])] for row in drawn])
        logits.append(last_logits(subject, new, cache))
    return mx.stack(logits, axis=1)
