"""The result of erasing a concept: by layer a probe, and choices between two answers, with the concept and without."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.cell_effects import CellEffects
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.tables import Column, Table

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Probed:
    """How well a probe tells the classes of states, held out.

    Attributes:
        accuracy: over prompts.
        interval: of it, over units.
    """

    accuracy: float
    interval: Interval

    def as_data(self) -> dict[str, float]:
        """As plain data."""
        return {"accuracy": self.accuracy, "low": self.interval.low, "high": self.interval.high}


@dataclass(frozen=True, eq=False)
class ErasedChoices:
    """A concept erased after each of L layers, and N choices with it and without.

    Attributes:
        layers: (L,).
        rank: of the erasers.
        before: (L,) the probe on the tested half's states as they are.
        after: (L,) on the erased ones.
        gap: (N,) the logit of the right answer less that of the other.
        erased: (L, N) the same with the concept erased.
        random: (L, R, N) with random directions erased.
        shuffled: (L, R, N) with those of shuffled labels erased.
        units: (N,) the independent unit of each prompt.
        damage: of erasing at the layer of the largest loss, on unrelated prompts.
        seed: of halves, random directions, shuffled labels and intervals.
    """

    layers: tuple[int, ...]
    rank: int
    before: tuple[Probed, ...]
    after: tuple[Probed, ...]
    gap: Floats
    erased: Floats
    random: Floats
    shuffled: Floats
    units: tuple[str, ...]
    damage: Damage | None
    seed: int

    @cached_property
    def lost(self) -> CellEffects:
        """By layer what the gap loses, beyond what it loses with random directions erased."""
        return CellEffects(
            self.gap - self.erased, (self.gap - self.random).mean(axis=1), self.units, self.seed
        )

    def share_lost(self, gaps: Floats) -> Floats:
        """(..., N) of the gaps of choices that are right, the share that is lost: 0 of none, 1 of all or more."""
        right = self.gap > 0
        return np.asarray(np.where(right, np.clip(1 - gaps / np.where(right, self.gap, 1), 0, 1), 0))

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "n": len(self.units),
            "units": len(set(self.units)),
            "rank": self.rank,
            "seed": self.seed,
            "right": float((self.gap > 0).mean()),
            "gap": self.gap.tolist(),
            "layers": [
                {
                    "layer": layer,
                    "probe_before": self.before[row].as_data(),
                    "probe_after": self.after[row].as_data(),
                    "right": float((self.erased[row] > 0).mean()),
                    "right_random": (self.random[row] > 0).mean(axis=1).tolist(),
                    "right_shuffled": (self.shuffled[row] > 0).mean(axis=1).tolist(),
                    "lost": self.lost.cell_data(row),
                }
                for row, layer in enumerate(self.layers)
            ],
            "damage": None if self.damage is None else asdict(self.damage),
        }

    def table(self) -> Table:
        """By layer the probe, the choices that are right and the gap, with the concept and without."""
        columns = (
            Column("Layer", width=6),
            Column("Probe", ".2f", right=True),
            Column("Probe, erased", width=20),
            Column("Right", ".2f", right=True),
            Column("random", ".2f", right=True),
            Column("shuffled", ".2f", right=True),
            Column("Gap lost", "+.3f", right=True),
            Column("beyond random", width=26),
            Column("p", ".4f"),
        )
        gain = self.lost.gain
        rows = [
            (
                f"L{layer}",
                self.before[row].accuracy,
                f"{self.after[row].accuracy:.2f} [{self.after[row].interval.low:.2f}, "
                f"{self.after[row].interval.high:.2f}]",
                float((self.erased[row] > 0).mean()),
                float((self.random[row] > 0).mean()),
                float((self.shuffled[row] > 0).mean()),
                float(self.lost.effect.mean[row]),
                f"{gain.mean[row]:+.3f} [{gain.low[row]:+.3f}, {gain.high[row]:+.3f}]",
                float(self.lost.p[row]),
            )
            for row, layer in enumerate(self.layers)
        ]
        return Table(columns, rows, f"{len(self.units)} choices with a concept of rank {self.rank} erased")

    def _repr_html_(self) -> str:
        return self.table().html()
