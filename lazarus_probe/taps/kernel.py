"""What happens inside attention, which the fused kernel keeps to itself.

While a tapped attention module runs, the kernel in `mx.fast` is replaced by a function that calls it and, where a
tap asks, computes scores and pattern from exactly its operands. Models without the fused kernel are reached at
their `mx.softmax`.
"""

# ruff: noqa: N806 - B, H, L, S and D are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from typing import Any, Literal

import mlx.core as mx

# What takes a value's place, or None where it was only looked at. Identity would not tell the two apart: a function
# that writes into the array it gets returns that same array.
Change = Callable[[mx.array], mx.array | None]
Step = Literal["queries", "keys", "values", "scores", "pattern", "output"]


@dataclass(frozen=True, eq=False)
class Inside:
    """A change of one step of attention.

    Attributes:
        step: queries (B, L, H, Dh), keys (B, S, G, Dh), values (B, S, G, Dv), scores and pattern (B, H, L, S), or
            the kernel's output (B, L, H, Dv).
        change: from that value to one of the same shape that takes its place, or to None, which leaves it.
        fused: whether the model calls the fused kernel; otherwise only scores and pattern can be reached.
    """

    step: Step
    change: Change
    fused: bool = True


@contextmanager
def kernel_open(inside: Sequence[Inside]) -> Iterator[None]:
    """Within, every call of the attention kernel runs the changes given.

    A pattern that no change replaced leaves the kernel's own output in place, so that looking alters nothing.
    """
    fused, softmax = mx.fast.scaled_dot_product_attention, mx.softmax
    steps = _by_step(edit for edit in inside if edit.fused)
    outer = _by_step(edit for edit in inside if not edit.fused)

    def attend(queries: mx.array, keys: mx.array, values: mx.array, **kwargs: Any) -> mx.array:
        return _attend(fused, steps, (queries, keys, values), kwargs)

    def soft(scores: mx.array, *args: Any, **kwargs: Any) -> mx.array:
        return _soft(softmax, outer, scores, args, kwargs)

    if steps:
        mx.fast.scaled_dot_product_attention = attend  # type: ignore[assignment]
    if outer:
        mx.softmax = soft
    try:
        yield
    finally:
        mx.fast.scaled_dot_product_attention, mx.softmax = fused, softmax


Steps = dict[str, list[Change]]


def _by_step(inside: Any) -> Steps:
    steps: Steps = {}
    for edit in inside:
        steps.setdefault(edit.step, []).append(edit.change)
    return steps


def _attend(fused: Any, steps: Steps, operands: tuple[mx.array, ...], kwargs: dict[str, Any]) -> mx.array:
    queries, keys, values = (
        _swapped(operand, steps.get(name, ()))
        for name, operand in zip(("queries", "keys", "values"), operands, strict=True)
    )
    output = None
    if "scores" in steps or "pattern" in steps:
        scores = attention_scores(queries, keys, scale=kwargs["scale"], mask=kwargs.get("mask"))
        scores, other_scores = _after(steps.get("scores", ()), scores)
        pattern = _softmax(scores, kwargs.get("sinks"))
        pattern, other_pattern = _after(steps.get("pattern", ()), pattern)
        if other_scores or other_pattern:
            output = mix(pattern, values)
    if output is None:
        output = fused(queries, keys, values, **kwargs)
    return _swapped(output, steps.get("output", ()))


def _soft(
    softmax: Any, steps: Steps, scores: mx.array, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> mx.array:
    """A call of `mx.softmax` on scores (B, H, L, S), or (B, G, H // G, L, S) where keys are shared."""
    if scores.ndim not in (4, 5):
        return softmax(scores, *args, **kwargs)
    shape = scores.shape
    heads = (shape[0], prod(shape[1:-2]), *shape[-2:])
    scores, _ = _after(steps.get("scores", ()), scores.reshape(heads))
    pattern = softmax(scores.reshape(shape), *args, **kwargs)
    pattern, _ = _after(steps.get("pattern", ()), pattern.reshape(heads))
    return pattern.reshape(shape)


def attention_scores(
    queries: mx.array, keys: mx.array, *, scale: float, mask: mx.array | str | None = None
) -> mx.array:
    """The scores (B, H, L, S) before the softmax, scaled and masked.

    Args:
        queries: (B, H, L, Dh).
        keys: (B, G, S, Dh), with G dividing H.
        scale: factor on the scores.
        mask: None, "causal", a boolean array (True is kept) or one that is added to the scores. "causal"
            aligns the last query with the last key.
    """
    B, H, L, D = queries.shape
    G, S = keys.shape[1:3]
    grouped = (queries * scale).reshape(B, G, H // G, L, D)
    scores = (grouped @ keys[:, :, None].swapaxes(-1, -2)).reshape(B, H, L, S)
    if isinstance(mask, str):
        mask = mx.arange(S - L, S)[:, None] >= mx.arange(S)[None]
    return scores if mask is None else _masked(scores, mask)


def mix(pattern: mx.array, values: mx.array) -> mx.array:
    """The heads' outputs (B, H, L, Dv) from a pattern (B, H, L, S) and values (B, G, S, Dv)."""
    B, H, L, S = pattern.shape
    G = values.shape[1]
    return (pattern.reshape(B, G, H // G, L, S) @ values[:, :, None]).reshape(B, H, L, -1)


def _masked(scores: mx.array, mask: mx.array) -> mx.array:
    if mask.dtype != mx.bool_:
        return scores + mask
    return mx.where(mask, scores, mx.array(mx.finfo(scores.dtype).min, scores.dtype))


def _softmax(scores: mx.array, sinks: mx.array | None) -> mx.array:
    """The attention weights (B, H, L, S) of scores, some of it taken by sinks (H,): scores that belong to no key."""
    if sinks is None:
        return mx.softmax(scores, axis=-1, precise=True)
    B, H, L, _ = scores.shape
    sink = mx.broadcast_to(sinks.reshape(1, H, 1, 1), (B, H, L, 1)).astype(scores.dtype)
    return mx.softmax(mx.concatenate([sink, scores], axis=-1), axis=-1, precise=True)[..., 1:]


def _swapped(operand: mx.array, changes: Sequence[Change]) -> mx.array:
    """A kernel's operand (B, H, L, D) with changes made to it as (B, L, H, D)."""
    if not changes:
        return operand
    value, changed = _after(changes, operand.transpose(0, 2, 1, 3))
    # Another memory layout would make the kernel add in another order.
    return mx.contiguous(value.transpose(0, 2, 1, 3)) if changed else operand


def _after(changes: Sequence[Change], value: mx.array) -> tuple[mx.array, bool]:
    """A value after changes made in order, and whether any took its place."""
    changed = False
    for change in changes:
        new = change(value)
        if new is not None:
            value, changed = new, True
    return value, changed
