"""What the ablation of heads does to a logit, compared with what the heads add to it directly."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.cell_effects import CellEffects
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.statistics.student import signed_estimate
from lazarus_probe.tables import Column, Table

HeadAblation = Literal["mean", "zero", "resample"]
Head = tuple[int, int]


@dataclass(frozen=True, eq=False)
class SelfRepair:
    """What K heads add to the logits of P prompts directly, and what is lost without them.

    Attributes:
        heads: (K,) layer and head.
        ablation: what the heads' outputs at the last token are replaced by.
        total: (P,) the logit, or logit difference, of the model as it is.
        direct: (K, P) what the logit loses of the head's direct contribution, later components and the norm as they
            were.
        frozen: (K, P) what it loses with later components as they then are, the final norm's scale frozen.
        lost: (K, P) what it loses: the total effect.
        units: (P,) the independent unit of each prompt.
        damage: of ablating the head of the largest direct effect, on unrelated prompts.
        seed: of signs, and of the interval of the damage.
    """

    heads: tuple[Head, ...]
    ablation: HeadAblation
    total: NDArray[np.float64]
    direct: NDArray[np.float64]
    frozen: NDArray[np.float64]
    lost: NDArray[np.float64]
    units: tuple[str, ...]
    damage: Damage | None
    seed: int

    @cached_property
    def repair(self) -> CellEffects:
        """The direct effect less the total one, beyond none."""
        return self._cells(self.direct - self.lost)

    @cached_property
    def by_components(self) -> CellEffects:
        """The part of the repair that later components do: with the final norm's scale frozen."""
        return self._cells(self.direct - self.frozen)

    @cached_property
    def by_norm(self) -> CellEffects:
        """The part that the final norm does, by another scale."""
        return self._cells(self.frozen - self.lost)

    @property
    def share_repaired(self) -> NDArray[np.float64]:
        """(K,) of the mean direct effect, the share that is made up for; NaN where there is none."""
        direct = self._cells(self.direct).effect.mean
        return np.divide(self.repair.effect.mean, direct, out=np.full(len(direct), np.nan), where=direct != 0)

    def _cells(self, effects: NDArray[Any]) -> CellEffects:
        return CellEffects(effects, np.zeros_like(effects), self.units, self.seed)

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "ablation": self.ablation,
            "n": len(self.units),
            "units": len(set(self.units)),
            "seed": self.seed,
            "total": self.total.tolist(),
            "heads": [
                {
                    "layer": layer,
                    "head": head,
                    "direct": self.direct[row].tolist(),
                    "lost": self.lost[row].tolist(),
                    "lost_with_frozen_norm": self.frozen[row].tolist(),
                    "share_repaired": float(self.share_repaired[row]),
                    "repair": self.repair.cell_data(row),
                    "by_components": self.by_components.cell_data(row),
                    "by_norm": self.by_norm.cell_data(row),
                }
                for row, (layer, head) in enumerate(self.heads)
            ],
            "damage": None if self.damage is None else asdict(self.damage),
        }

    def table(self) -> Table:
        """By head the direct and the total effect, and what makes up for the difference."""
        means = {
            name: self._cells(values).effect.mean
            for name, values in (("direct", self.direct), ("lost", self.lost))
        }
        rows = [
            (
                f"L{layer}.H{head}",
                float(means["direct"][row]),
                float(means["lost"][row]),
                signed_estimate(*(float(end[row]) for end in self.repair.effect)),
                float(self.repair.p[row]),
                float(self.share_repaired[row]),
                float(self.by_components.effect.mean[row]),
                float(self.by_norm.effect.mean[row]),
            )
            for row, (layer, head) in enumerate(self.heads)
        ]
        columns = (
            Column("Head", width=8),
            Column("Direct", "+.3f", right=True),
            Column("Lost", "+.3f", right=True),
            Column("Repaired", width=26),
            Column("p", ".4f"),
            Column("Share", ".0%", right=True),
            Column("By components", "+.3f", right=True),
            Column("By the norm", "+.3f", right=True),
        )
        return Table(columns, rows, f"self-repair, {self.ablation} ablation of {len(self.units)} prompts")

    def _repr_html_(self) -> str:
        return self.table().html()
