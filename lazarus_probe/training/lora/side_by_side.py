"""LoRA of several seeds trained side by side on one model: one forward pass for all, with separate matrices per run.

On a small model the cost of a step is dominated by the number of operations, not their size, so six trainings at once
take about half the time of six in a row (measured on the bundled model, on a CPU). Runs do not interact: each has its
own rows, its own loss and its own clipping, and AdamW is elementwise. A run ends with the same weights as it would
alone, up to float32 rounding.
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
    """LoRA of R runs on a linear layer: rows (R * B, L, in) are grouped by run.

    Attributes:
        linear: the base layer, frozen.
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
    """The runs attached to one model.

    Attributes:
        projections: each projection, with the LoRA of all runs.
    """

    projections: tuple[tuple[Projection, LoRARuns], ...]

    @contextmanager
    def alone(self, run: int) -> Iterator[None]:
        """Temporarily give the model the LoRA of one run, as mlx-lm's own layers."""
        try:
            for projection, layer in self.projections:
                single: Any = with_lora(layer.linear, layer.lora_a.shape[-1], layer.scale, dropout=0.0)
                single.lora_a, single.lora_b = layer.lora_a[run], layer.lora_b[run]
                projection.put(single)
            yield
        finally:
            for projection, layer in self.projections:
                projection.put(layer)


@contextmanager
def attached_side_by_side(
    subject: Subject,
    targets: Sequence[str],
    rank: int | Mapping[str, int],
    scale: float,
    seeds: Sequence[int],
) -> Iterator[SideBySide]:
    """The subject's model with LoRA of every seed, each initialised as by `attached`; restored on exit.

    The matrices of all runs are trainable. The model takes `stacked` rows of all runs only, except within `alone`.

    Raises:
        ValueError: no seeds; targets that are experts of a mixture, for which use `attached`; as `attached`.
    """
    if not seeds:
        raise ValueError("no seeds: give one for each training")
    drawn = [_drawn(subject, targets, rank, scale, seed) for seed in seeds]
    on = attach_new(subject, targets, rank, scale, seeds[0])
    try:
        projections = tuple(
            (projection, LoRARuns(projection.module.linear, mx.stack(list(matrices)), scale))
            for (projection, _), matrices in zip(on.projections, zip(*drawn, strict=True), strict=True)
        )
        for projection, layer in projections:
            projection.put(layer)
        yield SideBySide(projections)
    finally:
        on.detach()


def _drawn(
    subject: Subject, targets: Sequence[str], rank: int | Mapping[str, int], scale: float, seed: int
) -> list[mx.array]:
    """The initial matrices of one seed, projection by projection."""
    on = attach_new(subject, targets, rank, scale, seed)
    try:
        if experts := [projection.path for projection, module in on.projections if sizes(module)[0] > 1]:
            raise ValueError(
                f"{experts[0]} holds the experts of a mixture; train its runs one after the other"
            )
        return [projection.module.lora_a for projection, _ in on.projections]
    finally:
        on.detach()


def stacked(batches: Sequence[Batch]) -> Batch:
    """One batch with the rows of R runs, padded to the longest; its counts are by run (R,)."""
    return Batch(
        tokens=_rows([batch.tokens for batch in batches], 0),
        learned=_rows([batch.learned for batch in batches], 0),
        read_at=mx.concatenate([batch.read_at for batch in batches]),
        class_tokens=mx.concatenate([batch.class_tokens for batch in batches]),
        learned_in_step=mx.stack([batch.learned_in_step for batch in batches]),
        classified_in_step=mx.stack([batch.classified_in_step for batch in batches]),
        positions=_rows([batch.positions for batch in batches], -1),
    )


def _rows(arrays: Sequence[mx.array], filler: int) -> mx.array:
    width = max(array.shape[1] for array in arrays)
    return mx.concatenate(
        [mx.pad(array, [(0, 0), (0, width - array.shape[1])], constant_values=filler) for array in arrays]
    )
