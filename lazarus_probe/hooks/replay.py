"""Running part of a model: its tail from a residual stream that is given.

The blocks below are passed through and the model's own code runs the rest, so that final norm, soft caps,
logit scales and tied heads are the model's.
"""

from __future__ import annotations

from collections.abc import Iterator

import mlx.core as mx

from lazarus_probe.hooks.taps import Tap, tapped
from lazarus_probe.subject.anatomy import Anatomy
from lazarus_probe.subject.generate import forward
from lazarus_probe.subject.subject import Subject


def replay(subject: Subject, resid: mx.array, layer: int | None = None) -> mx.array:
    """Logits (B, L, V) of a residual stream (B, L, D) given to the model after its first `layer` blocks.

    With the default, all of them, this is the logit lens (nostalgebraist, 2020): final norm and unembedding.
    Can be differentiated with respect to `resid` and to the parameters. Hooks of an enclosing `hooked` act on
    what is run, and do not see the blocks passed through.

    Raises:
        IndexError: `layer` is not within 0 and the number of layers.
        ValueError: `resid` is not (B, L, D).
    """
    anatomy = subject.anatomy
    layer = anatomy.num_layers if layer is None else layer
    if not 0 <= layer <= anatomy.num_layers:
        raise IndexError(f"layer {layer} is out of range: a replay starts at 0 to {anatomy.num_layers}")
    if resid.ndim != 3 or resid.shape[-1] != anatomy.hidden_size:
        raise ValueError(f"resid is {tuple(resid.shape)}; (B, L, {anatomy.hidden_size}) is needed")
    # The tokens only give the run its shape; what is computed from them is dropped.
    tokens = mx.zeros(resid.shape[:2], dtype=mx.int32)
    with tapped(list(_injection(anatomy, resid, layer)), first=True):
        return forward(anatomy.model, tokens)


def resume(subject: Subject, resid: mx.array, layer: int) -> mx.array:
    """Logits (B, L, V) from running block `layer` and those above it on their input `resid` (B, L, D).

    See `replay`, which this is for a block that exists.

    Raises:
        IndexError: the model has no such block; negative layers count from the last.
        ValueError: `resid` is not (B, L, D).
    """
    count = subject.anatomy.num_layers
    if not -count <= layer < count:
        raise IndexError(f"layer {layer} is out of range: the model has layers 0 to {count - 1}")
    return replay(subject, resid, layer % count)


def _injection(anatomy: Anatomy, resid: mx.array, layer: int) -> Iterator[Tap]:
    def give(_: mx.array) -> mx.array:
        return resid

    # Hooks on the embedding and on the blocks passed through must not take this for a value of theirs.
    yield Tap(anatomy.embedding, instead=give)
    for block in anatomy.blocks[: max(layer - 1, 0)]:
        yield Tap(block, instead=_same)
    if layer > 0:
        yield Tap(anatomy.blocks[layer - 1], instead=give)
    else:
        # The embedding is not enough: some models scale what it returns.
        yield Tap(anatomy.blocks[0], before=give)


def _same(value: mx.array) -> mx.array:
    return value
