"""Forward passes, always with the cache that mlx-lm makes for the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

# By how many columns a cache grows. In mlx-lm it is 256, for one long row; 270 rows of a few tokens then hold 3 GB of
# nothing in a cache of SmolLM2, and a pass over them takes a third longer (`tests/benchmarks/short_rows.py`).
COLUMNS = 16


def forward(model: nn.Module, tokens: mx.array) -> mx.array:
    """Logits (B, L, V) of tokens (B, L), by the model's own code.

    The cache mlx-lm makes for the model is always passed: without one some architectures compute something
    else.

    Example:
        >>> from lazarus_probe.subject import as_tokens, forward
        >>> logits = forward(subject.model, as_tokens(subject, "7*8="))
        >>> logits.shape
        (1, 5, 2003)
    """
    return model(tokens, cache=new_cache(model))


def new_cache(model: nn.Module) -> list[Any]:
    """An empty cache of the kind that the model asks for, one entry a layer."""
    from mlx_lm.models.cache import KVCache, RotatingKVCache, make_prompt_cache

    cache = make_prompt_cache(model)
    for entry in cache_entries(cache):
        if type(entry) in (KVCache, RotatingKVCache):
            entry.step = COLUMNS
    return cache


def cache_entries(cache: Iterable[Any]) -> Iterator[Any]:
    """A cache's entries, and those that an entry is made of."""
    for entry in cache:
        if entry is not None:
            yield entry
            yield from cache_entries(getattr(entry, "caches", ()))


def keeps_keys(entry: Any) -> bool:
    """Whether all that a cache entry keeps are keys and values by position, whose rows can be repeated or replaced."""
    from mlx_lm.models.cache import KVCache, RotatingKVCache

    return type(entry) is KVCache or (type(entry) is RotatingKVCache and entry.keep == 0)


def chosen_rows(values: mx.array, rows: NDArray[np.intp]) -> mx.array:
    """Rows of an array (B, ...) by their numbers, without a copy where it has only one row."""
    if values.shape[0] == 1:
        return values if len(rows) == 1 else mx.broadcast_to(values, (len(rows), *values.shape[1:]))
    if len(rows) == values.shape[0] and (rows == np.arange(len(rows))).all():
        return values
    return mx.take(values, mx.array(rows.astype(np.int32)), axis=0)


def repeat_rows(cache: Iterable[Any], rows: NDArray[np.intp]) -> None:
    """Let a cache of keys and values (`keeps_keys`) go on with some of its rows, each as often as it is listed."""
    for entry in cache:
        if entry.keys is not None:  # a layer that reads the keys of another one keeps none
            entry.keys, entry.values = (chosen_rows(array, rows) for array in (entry.keys, entry.values))


def log_softmax(logits: mx.array) -> mx.array:
    """Log probabilities of logits (..., V), in the type that they have."""
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
