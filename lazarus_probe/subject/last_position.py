"""Logits of the last position alone: what follows the blocks is not run at the others.

The unembedding is the largest product of a forward pass: it has 28 of SmolLM2's 135 million weights. Without it the
damage of an edit to unrelated prompts took a tenth less CPU time on the organism, whose vocabulary is small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.anatomy.forward_pass import forward, new_cache
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Tap, tapped, taps_on, untapped

# Of the largest logit.
TOLERANCE = 1e-5
TRIAL = (2, 6)


def last_logits(subject: Subject, tokens: mx.array, cache: list[Any] | None = None) -> mx.array:
    """Logits (B, V) at the last position of tokens (B, L), as `forward(subject.model, tokens)[:, -1]` has them.

    Hooks see what they see in a whole forward.

    Args:
        subject: the model.
        tokens: (B, L).
        cache: of what comes before; by default a new one.
    """
    cache = new_cache(subject.model) if cache is None else cache
    with tapped(last_position(subject.anatomy) if tokens.shape[1] > 1 else ()):
        return subject.model(tokens, cache=cache)[:, -1]


def next_token_logits(subject: Subject, prompts: Sequence[Prompt]) -> Iterator[tuple[list[int], mx.array]]:
    """What a model says after prompts, in batches: the prompts' indices, and their next token's float32 logits (B, V).

    Raises:
        ValueError: as `by_length` and `encode_all`.
        NotFinite: logits by which no token can be chosen.
    """
    for indices, tokens in by_length(encode_all(subject, prompts)):
        yield indices, finite_last_logits(subject, tokens)


def finite_last_logits(subject: Subject, tokens: mx.array) -> mx.array:
    """`last_logits` (B, V) of tokens (B, L) in float32.

    Raises:
        NotFinite: no token can be chosen by them.
    """
    return require_finite(subject, tokens, last_logits(subject, tokens).astype(mx.float32))


def last_position(anatomy: Anatomy) -> list[Tap]:
    """Taps that hand the last position alone to what follows the blocks; none where that would not be the same.

    That is where a tail mixes positions or reads more than the residual, and where taps that are there already see the
    model's output, or run around its last block.
    """
    of_model, of_block = taps_on(anatomy.model), taps_on(anatomy.blocks[-1])
    if any(tap.after or tap.around or tap.instead for tap in of_model) or any(tap.around for tap in of_block):
        return []
    if anatomy not in _exact:
        _exact[anatomy] = _is_exact(anatomy)
    return [_cut(anatomy)] if _exact[anatomy] else []


_exact: WeakKeyDictionary[Anatomy, bool] = WeakKeyDictionary()


def _cut(anatomy: Anatomy) -> Tap:
    return Tap(anatomy.blocks[-1], after=lambda resid: resid[:, -1:])


def _is_exact(anatomy: Anatomy) -> bool:
    """Whether short prompts have the same logits; what one prompt loses in a batch of two is no difference."""
    if anatomy.stream_axis is not None:
        return False
    model, rng = anatomy.model, np.random.default_rng(0)
    tokens = mx.array(rng.integers(0, anatomy.vocab_size, TRIAL).astype(np.int32))
    with untapped():
        whole, alone = forward(model, tokens)[:, -1], forward(model, tokens[:1])[:, -1]
        try:
            with tapped([_cut(anatomy)]):
                last = forward(model, tokens)
        except ValueError:  # of shapes that do not fit
            return False
    if last.shape[1] != 1:
        return False
    allowed = max(TOLERANCE, 4 * relative_difference(alone, whole[:1]))
    return relative_difference(last[:, 0], whole) <= allowed


def relative_difference(values: mx.array, reference: mx.array) -> float:
    """The largest difference, relative to the largest value; infinite where something is not finite."""
    values, reference = values.astype(mx.float32), reference.astype(mx.float32)
    error: Any = (mx.abs(values - reference).max() / mx.abs(reference).max()).item()
    return float(error) if np.isfinite(error) else float("inf")
