"""LoRA of several seeds trained side by side on one model: one forward of all their rows, each with its own matrices.

On a small model a step costs its number of operations more than their size, so that six trainings at once take
about half of the time of six in a row (measured on the bundled model, on a CPU). No run sees another: each has its own
rows, its own loss and its own clipping, and AdamW moves every number by itself. A run ends where it would alone, up to
the rounding of float32.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import mlx.nn as nn

from lazarus_probe.anatomy.projections import Projection, sizes, with_lora
from lazarus_probe.training.batches import Batch
from lazarus_probe.training.lora.lora import attach_new

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


class LoRARuns(nn.Module):
    """LoRA of R runs on a linear layer: rows (R * B, L, in) are those of the first run, of the second, and so on.

    Attributes:
        linear: what it is on, frozen.
        lora_a: (R, in, rank).
        lora_b: (R, rank, out).
    """

    def __init__(self, linear: nn.Module, lora_a: mx.array, scale: float) -> None:
        super().__init__()
        runs, _, rank = lora_a.shape
        self.linear, self.scale = linear, scale
        self.lora_a, self.lora_b = lora_a, mx.zeros((runs, rank, sizes(linear)[2]))

    def __call__(self, x: mx.array) -> mx.array:
        """The layer's output for (R * B, L, in), with each run's update on its own rows."""
        out: mx.array = self.linear(x)
        rows = x.reshape(self.lora_a.shape[0], -1, x.shape[-1])
        update = ((rows @ self.lora_a) @ self.lora_b).reshape(out.shape)
        return out + (self.scale * update).astype(x.dtype)


@dataclass(frozen=True, eq=False)
class SideBySide:
    """Runs that are on a model together.

    Attributes:
        places: each projection, with the LoRA of all runs.
    """

    places: tuple[tuple[Projection, LoRARuns], ...]

    @contextmanager
    def alone(self, run: int) -> Iterator[None]:
        """Within, the model has the LoRA of one run, as mlx-lm's own layers."""
        try:
            for place, layer in self.places:
                single: Any = with_lora(layer.linear, layer.lora_a.shape[-1], layer.scale, dropout=0.0)
                single.lora_a, single.lora_b = layer.lora_a[run], layer.lora_b[run]
                place.put(single)
            yield
        finally:
            for place, layer in self.places:
                place.put(layer)


@contextmanager
def attached_side_by_side(
    subject: Subject,
    targets: Sequence[str],
    rank: int | Mapping[str, int],
    scale: float,
    seeds: Sequence[int],
) -> Iterator[SideBySide]:
    """The subject's model with LoRA of every seed, each drawn as `attached` draws it; as it was before on leaving.

    What is trained are the matrices of all runs. The model takes rows of all runs only, `stacked`, until it has one
    run `alone`.

    Raises:
        ValueError: no seeds; experts of a mixture, which `attached` is for; as `attached`.
    """
    if not seeds:
        raise ValueError("no seeds: give one for each training")
    drawn = [_drawn(subject, targets, rank, scale, seed) for seed in seeds]
    on = attach_new(subject, targets, rank, scale, seeds[0])
    try:
        places = tuple(
            (place, LoRARuns(place.module.linear, mx.stack(list(matrices)), scale))
            for (place, _), matrices in zip(on.places, zip(*drawn, strict=True), strict=True)
        )
        for place, layer in places:
            place.put(layer)
        yield SideBySide(places)
    finally:
        on.detach()


def _drawn(
    subject: Subject, targets: Sequence[str], rank: int | Mapping[str, int], scale: float, seed: int
) -> list[mx.array]:
    """The matrices that one seed begins with, projection by projection."""
    on = attach_new(subject, targets, rank, scale, seed)
    try:
        if experts := [place.path for place, module in on.places if sizes(module)[0] > 1]:
            raise ValueError(f"{experts[0]} is the experts of a mixture; train its runs one after the other")
        return [place.module.lora_a for place, _ in on.places]
    finally:
        on.detach()


def stacked(batches: Sequence[Batch]) -> Batch:
    """The batches of R runs as one of their rows, padded to the longest; what is counted, is counted by run (R,)."""
    return Batch(
        tokens=_rows([batch.tokens for batch in batches], 0),
        learned=_rows([batch.learned for batch in batches], 0),
        read_at=mx.concatenate([batch.read_at for batch in batches]),
        class_tokens=mx.concatenate([batch.class_tokens for batch in batches]),
        learned_in_step=mx.stack([batch.learned_in_step for batch in batches]),
        classified_in_step=mx.stack([batch.classified_in_step for batch in batches]),
        places=_rows([batch.places for batch in batches], -1),
    )


def _rows(arrays: Sequence[mx.array], filler: int) -> mx.array:
    width = max(array.shape[1] for array in arrays)
    return mx.concatenate(
        [mx.pad(array, [(0, 0), (0, width - array.shape[1])], constant_values=filler) for array in arrays]
    )
