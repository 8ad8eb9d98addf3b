"""Effects of many edits on the same prompts, each compared with a control: which are beyond it, and beyond chance."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.clusters import cluster_means
from lazarus_probe.statistics.permutation import sign_step_down
from lazarus_probe.statistics.student import Estimate, clustered_t_interval, mean_t_interval

FEWEST_UNITS = 5  # 5 signs have 32 patterns, so that p can be below .05
MARKED = 0.05


def mark(p: float) -> str:
    """The asterisk of a cell in a table whose p is at most .05, else nothing; what a claim comes to is for `judge`."""
    return "*" if p <= MARKED else ""


@dataclass(frozen=True, eq=False)
class CellEffects:
    """Effects of K cells, such as layers or heads, on P prompts.

    Attributes:
        effects: (K, P).
        control: (K, P) the effect of a control of the same kind and size; NaN for prompts that have none.
        units: (P,) the independent unit of each prompt.
        seed: of the sign patterns, where there are too many to count.
    """

    effects: NDArray[Any]
    control: NDArray[Any]
    units: tuple[str, ...]
    seed: int = 0

    @cached_property
    def effect(self) -> Estimate:
        """(K,) mean effect, with its interval over units."""
        return clustered_t_interval(self.effects.T, self.units)

    @cached_property
    def gains(self) -> NDArray[Any]:
        """(U, K) by unit the effect beyond the control, of prompts that have one for every cell."""
        gains = (self.effects - self.control).T
        defined = np.isfinite(gains).all(axis=1)
        return cluster_means(gains[defined], np.array(self.units)[defined])

    @cached_property
    def gain(self) -> Estimate:
        """(K,) mean effect beyond the control, with its interval over units; NaN without a control."""
        if not len(self.gains):
            unknown = np.full(len(self.effects), np.nan)
            return Estimate(unknown, unknown, unknown)
        return mean_t_interval(self.gains)

    @cached_property
    def p(self) -> NDArray[Any]:
        """(K,) of a gain as large by chance, corrected for all cells; NaN with fewer than 5 units."""
        if len(self.gains) < FEWEST_UNITS:
            return np.full(len(self.effects), np.nan)
        return sign_step_down(self.gains, seed=self.seed)

    @property
    def best(self) -> int:
        """The cell of the largest mean effect."""
        return int(np.argmax(self.effect.mean))

    def cell_data(self, cell: int) -> dict[str, Any]:
        """One cell as plain data: means with their intervals, p, and the effects by prompt."""
        return {
            "effect": [float(end[cell]) for end in self.effect],
            "gain": [float(end[cell]) for end in self.gain],
            "p": float(self.p[cell]),
            "effects": self.effects[cell].tolist(),
            "control": self.control[cell].tolist(),
        }
