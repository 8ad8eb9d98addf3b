"""Runs that begin at a block, for searches that change one place many times: what comes before it is not run again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.sweep.record import record
from lazarus_probe.taps import Tap, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def entering(subject: Subject, tokens: mx.array, layers: Sequence[int]) -> dict[int, mx.array]:
    """By layer the residual stream at its block's input; empty where a model cannot be run from a block on."""
    if not subject.anatomy.skippable:
        return {}
    recorded = record(subject.anatomy, tokens, (), layers, own=False, tail=False).entering
    kept = {layer: recorded[layer] for layer in layers}
    mx.eval(kept)
    return kept


def resumed_logits(
    subject: Subject, tokens: mx.array, layer: int, before: Mapping[int, mx.array], taps: Sequence[Tap] = ()
) -> mx.array:
    """(B, V) logits at the last position, in float32, run from a block on where its input is known; lazily.

    Args:
        subject: the model.
        tokens: (B, L).
        layer: the first block to run; the number of layers for none.
        before: by block its input (B, L, D), as `entering` gives it.
        taps: further ones, of blocks that run.
    """
    anatomy = subject.anatomy
    skipping = _from_block(anatomy, layer, before[layer]) if layer in before else []
    with tapped([*skipping, *taps]):
        return last_logits(subject, tokens).astype(mx.float32)


def _from_block(anatomy: Anatomy, layer: int, resid: mx.array) -> list[Tap]:
    argument = anatomy.resid_argument
    passed = [Tap(block, instead=lambda value: value, argument=argument) for block in anatomy.blocks[:layer]]
    if layer == anatomy.num_layers:  # no other tap runs where a block is replaced, so its output is cut here
        return [*passed[:-1], Tap(anatomy.blocks[-1], instead=lambda _: resid[:, -1:], argument=argument)]
    return [*passed, Tap(anatomy.blocks[layer], before=lambda _: resid, argument=argument)]
