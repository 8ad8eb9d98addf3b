"""Which edges of attention are cut: to a part of the prompt, and to other parts of equal length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.spans import Span

Cut = Literal["scores", "pattern"]


def cut_edges(
    layers: Sequence[int], cuts: Sequence[tuple[Span, Span]], length: int, cut: Cut
) -> list[Intervention]:
    """Edits of a batch of B prompts of one length: in row b the second span of `cuts[b]` may not read the first."""
    mask = np.zeros((len(cuts), 1, length, length), dtype=bool)
    for row, (part, readers) in enumerate(cuts):
        mask[row, 0, readers.start : readers.stop, part.start : part.stop] = True
    hidden, value = mx.array(mask), -float("inf") if cut == "scores" else 0.0

    def edit(attention: mx.array) -> mx.array:
        if attention.shape[2:] != (length, length):
            raise UnsupportedArchitecture(
                f"attention is {attention.shape[2:]}, not {length} by {length} positions; give shorter prompts, that "
                "its window holds"
            )
        return mx.where(hidden, mx.array(value, attention.dtype), attention)

    return [Intervention(Site(cut, layer), edit, label="knockout") for layer in layers]


def other_parts(ids: Sequence[int], part: Span, readers: Span, most: int, seed: int) -> list[Span]:
    """Spans of the part's length that begin after the first token and end before the readers, apart from the part."""
    size = len(part)
    starts = [
        start
        for start in range(1, readers.start - size + 1)
        if start + size <= part.start or start >= part.stop
    ]
    order = np.random.default_rng((seed, *ids)).permutation(starts)[:most]
    return [Span(int(start), int(start) + size) for start in order]


def check_cut(row: int, length: int, part: Span, readers: Span) -> None:
    """Refuse a cut of a prompt of `length` tokens that is outside of it, cuts nothing, or leaves nothing to attend to.

    Raises:
        ValueError: it does; the message names the prompt by its row.
    """
    for name, where in (("part", part), ("readers", readers)):
        if where.stop > length:
            raise ValueError(
                f"prompt {row}: the {name} are tokens {where.start} to {where.last} of a prompt of {length} tokens"
            )
    if part.start > readers.last:
        raise ValueError(
            f"prompt {row}: the part begins at {part.start}, after the readers, which end at {readers.last}: they "
            "cannot attend to it anyway"
        )
    lone = [at for at in readers.positions if not set(range(at + 1)) - set(part.positions)]
    if lone:
        raise ValueError(
            f"prompt {row}: position {lone[0]} would have nothing left to attend to; leave the first token readable"
        )
