"""Forward passes, always with the cache that mlx-lm makes for the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import mlx.core as mx
import mlx.nn as nn


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
    from mlx_lm.models.cache import make_prompt_cache

    return make_prompt_cache(model)


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


def log_softmax(logits: mx.array) -> mx.array:
    """Log probabilities of logits (..., V), in the type that they have."""
    return logits - mx.logsumexp(logits, axis=-1, keepdims=True)
