"""Divergences of a tuned lens on held-out texts, compared with the plain lens and a constant distribution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.lens.tail_divergence import final_distributions
from lazarus_probe.introspection.lens.tuned_lens import TunedLens, divergences, residuals
from lazarus_probe.statistics.bootstrap import cluster_bootstrap_means
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.statistics.intervals import Interval
    from lazarus_probe.subject.subject import Subject

POOL_BYTES = 2**28  # of residual streams at one time
EVALUATED = 1024  # positions on each side at most
LOGITS = 2**29  # of all layers at the positions evaluated, at most


@dataclass(frozen=True, eq=False)
class HeldOut:
    """Divergences on held-out texts, KL(final || reading) in nats, one number per layer.

    Attributes:
        plain: of the plain logit lens.
        tuned: of the tuned lens.
        constant: of one distribution for every position, the mean over the training texts: what needs no reading.
        plain_interval: 95%, texts resampled.
        tuned_interval: likewise.
        gain: plain minus tuned.
        gain_interval: likewise.
        positions: how many.
        texts: how many.
    """

    plain: tuple[float, ...]
    tuned: tuple[float, ...]
    constant: float
    plain_interval: tuple[Interval, ...]
    tuned_interval: tuple[Interval, ...]
    gain: tuple[float, ...]
    gain_interval: tuple[Interval, ...]
    positions: int
    texts: int

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "positions": self.positions,
            "texts": self.texts,
            "constant_kl": self.constant,
            "layers": [
                {
                    "layer": layer,
                    "plain_kl": self.plain[layer],
                    "plain_low": self.plain_interval[layer].low,
                    "plain_high": self.plain_interval[layer].high,
                    "tuned_kl": self.tuned[layer],
                    "tuned_low": self.tuned_interval[layer].low,
                    "tuned_high": self.tuned_interval[layer].high,
                    "gain": self.gain[layer],
                    "gain_low": self.gain_interval[layer].low,
                    "gain_high": self.gain_interval[layer].high,
                }
                for layer in range(len(self.plain))
            ],
        }

    def table(self, untrained: HeldOut | None = None) -> Table:
        """Divergences by layer: plain and tuned lens and the gain; and both lenses on an untrained model."""
        columns = (
            Column("Layer"),
            Column("Plain", ".3f", width=7),
            Column("Tuned [95%]", width=21),
            Column("Plain - tuned [95%]", width=21),
            *((Column("Untrained: plain", ".3f"), Column("tuned", ".3f")) if untrained else ()),
        )
        largest = max(self.plain) or 1.0
        rows = [
            (
                f"L{layer}",
                Cell(plain, str(self.plain_interval[layer]), plain / largest),
                Cell(f"{tuned:.3f} {self.tuned_interval[layer]}", shade=tuned / largest),
                f"{self.gain[layer]:.3f} {self.gain_interval[layer]}",
                *((untrained.plain[layer], untrained.tuned[layer]) if untrained else ()),
            )
            for layer, (plain, tuned) in enumerate(zip(self.plain, self.tuned, strict=True))
        ]
        return Table(columns, rows, f"held-out KL in nats ({self.positions} positions)")

    def _repr_html_(self) -> str:
        return self.table().html()


def evaluate(
    subject: Subject,
    lens: TunedLens,
    trained: Sequence[Sequence[int]],
    held_out: Sequence[Sequence[int]],
    seed: int = 0,
) -> HeldOut:
    """Divergences of the plain and the tuned lens on held-out texts, and of what the trained ones say on average."""
    resid, owners = _positions(subject, held_out, seed)
    plain, tuned = divergences(subject, resid), divergences(subject, resid, lens)
    gains = plain - tuned
    return HeldOut(
        tuple(plain.mean(axis=0).tolist()),
        tuple(tuned.mean(axis=0).tolist()),
        _constant(subject, _positions(subject, trained, seed)[0], resid),
        cluster_bootstrap_means(plain, owners, seed=seed),
        cluster_bootstrap_means(tuned, owners, seed=seed),
        tuple(gains.mean(axis=0).tolist()),
        cluster_bootstrap_means(gains, owners, seed=seed),
        len(resid),
        len(np.unique(owners)),
    )


def bytes_of(subject: Subject) -> int:
    """Of the residual streams of one position, after all layers."""
    return 4 * subject.num_layers * subject.anatomy.hidden_size


def _positions(
    subject: Subject, texts: Sequence[Sequence[int]], seed: int
) -> tuple[mx.array, NDArray[np.intp]]:
    """Residual streams (N, layers, D) at positions drawn from those of the texts, and the text (N,) of each.

    They are drawn from the first texts, which come in random order: from two at least, from three times as many
    positions as are evaluated, and from no more than fit into memory.
    """
    most = min(EVALUATED, max(2, LOGITS // (subject.num_layers * subject.anatomy.vocab_size)))
    ends = np.cumsum([len(text) for text in texts])
    fitting = max(2, int((ends <= min(3 * most, POOL_BYTES // bytes_of(subject))).sum()))
    resid, owners = residuals(subject, texts[:fitting])
    if len(resid) <= most:
        return resid, owners
    rows = np.sort(np.random.default_rng(seed).permutation(len(resid))[:most])
    return resid[mx.array(rows.astype(np.int32))], owners[rows]


def _constant(subject: Subject, trained: mx.array, held_out: mx.array) -> float:
    """Divergence of the mean distribution over positions of the trained texts, at the positions held out."""
    mean = final_distributions(subject, trained[:, -1]).weight.mean(axis=0, dtype=np.float64)
    final = final_distributions(subject, held_out[:, -1])
    cross = final.weight @ np.log(np.maximum(mean, 1e-30)).astype(np.float32)
    return float((final.negative_entropy - cross).mean())
