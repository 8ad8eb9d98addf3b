"""Attention patterns and per-head outputs, which the fused kernel keeps to itself.

While a tapped attention module runs, the kernel in `mx.fast` is replaced by a function that calls it and,
where a tap asks, computes the pattern from exactly its operands.
"""

# ruff: noqa: N806 - B, H, L, S and D are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from typing import Any

import mlx.core as mx

Change = Callable[[mx.array], mx.array]


@contextmanager
def attention_open(patterns: Sequence[Change | None], heads: Sequence[Change | None]) -> Iterator[None]:
    """Within, every fused attention call runs the changes of its pattern, then those of its heads.

    A pattern that no change replaced leaves the kernel's own output in place, so that looking alters nothing.
    """
    on_pattern = [change for change in patterns if change]
    on_heads = [change for change in heads if change]
    if not on_pattern and not on_heads:
        yield
        return
    fused = mx.fast.scaled_dot_product_attention

    def attend(queries: mx.array, keys: mx.array, values: mx.array, **kwargs: Any) -> mx.array:
        output = None
        if on_pattern:
            weights = attention_pattern(queries, keys, **kwargs)
            changed = reduce(_apply, on_pattern, weights)
            output = None if changed is weights else mix(changed, values)
        if output is None:
            output = fused(queries, keys, values, **kwargs)
        return _changed_heads(output, on_heads)

    mx.fast.scaled_dot_product_attention = attend  # type: ignore[assignment]
    try:
        yield
    finally:
        mx.fast.scaled_dot_product_attention = fused


def attention_pattern(
    queries: mx.array,
    keys: mx.array,
    *,
    scale: float,
    mask: mx.array | str | None = None,
    sinks: mx.array | None = None,
    **_: Any,
) -> mx.array:
    """The attention weights (B, H, L, S) of a call of the fused kernel.

    Args:
        queries: (B, H, L, Dh).
        keys: (B, G, S, Dh), with G dividing H: every G-th part of the heads shares keys.
        scale: factor on the scores.
        mask: None, "causal", a boolean array (True is kept) or one that is added to the scores. "causal"
            aligns the last query with the last key.
        sinks: a score (H,) that takes weight from the softmax without being a key; rows then sum to less than
            1.
    """
    B, H, L, D = queries.shape
    G, S = keys.shape[1:3]
    grouped = (queries * scale).reshape(B, G, H // G, L, D)
    scores = (grouped @ keys[:, :, None].swapaxes(-1, -2)).reshape(B, H, L, S)
    if isinstance(mask, str):
        mask = mx.arange(S - L, S)[:, None] >= mx.arange(S)[None]
    if mask is not None:
        scores = _masked(scores, mask)
    if sinks is None:
        return mx.softmax(scores, axis=-1, precise=True)
    sink = mx.broadcast_to(sinks.reshape(1, H, 1, 1), (B, H, L, 1)).astype(scores.dtype)
    return mx.softmax(mx.concatenate([sink, scores], axis=-1), axis=-1, precise=True)[..., 1:]


def mix(pattern: mx.array, values: mx.array) -> mx.array:
    """The heads' outputs (B, H, L, Dh) from a pattern (B, H, L, S) and values (B, G, S, Dh)."""
    B, H, L, S = pattern.shape
    G = values.shape[1]
    return (pattern.reshape(B, G, H // G, L, S) @ values[:, :, None]).reshape(B, H, L, -1)


def _masked(scores: mx.array, mask: mx.array) -> mx.array:
    if mask.dtype != mx.bool_:
        return scores + mask
    return mx.where(mask, scores, mx.array(mx.finfo(scores.dtype).min, scores.dtype))


def _changed_heads(output: mx.array, changes: Sequence[Change]) -> mx.array:
    heads = output.transpose(0, 2, 1, 3)
    changed = reduce(_apply, changes, heads)
    return output if changed is heads else changed.transpose(0, 2, 1, 3)


def _apply(value: mx.array, change: Change) -> mx.array:
    return change(value)
