"""One effect of steering vectors at several doses, compared with that of random directions."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.steering.log_odds import over_prompts
from lazarus_probe.statistics.clustered import paired_interval, proportion_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.permutation import max_statistic_p


@dataclass(frozen=True, eq=False)
class Effect:
    """One effect of K doses on P prompts.

    Attributes:
        name: what it is called in the data.
        values: (K, P) under the direction.
        random: (R, K, P) under each random direction.
        unsteered: (P,) without steering.
        prompts: (P,) texts.
        doses: (K,) coefficients.
    """

    name: str
    values: NDArray[np.float64]
    random: NDArray[np.float64]
    unsteered: NDArray[np.float64]
    prompts: tuple[str, ...]
    doses: tuple[float, ...]

    @property
    def bounds(self) -> tuple[float, float]:
        """Its smallest and largest possible value."""
        unbounded = {"kl": (0.0, inf), "target_logit_diff": (-inf, inf), "target_log_odds": (-inf, inf)}
        return unbounded.get(self.name, (0.0, 1.0))

    @property
    def means(self) -> NDArray[np.float64]:
        """(K,) over prompts."""
        return np.asarray(self.values.mean(axis=1))

    @property
    def random_means(self) -> NDArray[np.float64]:
        """(R, K) over prompts."""
        return np.asarray(self.random.mean(axis=2))

    def interval(self, dose: int) -> Interval | None:
        """Of the mean over prompts, which are the units; None for a single prompt.

        Shares and probabilities have `proportion_interval` or `paired_interval`, which hold for extreme means of few
        prompts; others Student's t.
        """
        values, units = self.values[dose], np.asarray(self.prompts)
        if len(set(self.prompts)) < 2:
            return None
        if self.bounds[1] == 1:
            if np.isin(values, (0.0, 1.0)).all():
                return proportion_interval(values, units)
            interval = paired_interval(values, units)
        else:
            _, low, high = over_prompts(values, units)
            interval = Interval(float(low), float(high))
        return Interval(max(interval.low, self.bounds[0]), min(interval.high, self.bounds[1]))

    def p(self) -> list[float | None]:
        """By dose, how often a random direction would have as large an effect at any of the doses.

        Doses are scaled by the spread over all directions, this one included. None for a dose of 0, for one with the
        same effect in all directions, and without random directions.
        """
        curves = np.concatenate([self.means[None], self.random_means])
        spread = curves.std(axis=0)
        defined = (np.array(self.doses) != 0) & (spread > 1e-6 * np.abs(curves).max(axis=0))
        if not defined.any() or not len(self.random):
            return [None] * len(spread)
        scaled = (curves - curves.mean(axis=0))[:, defined] / spread[defined]
        p = iter(max_statistic_p(scaled[0], scaled[1:]).tolist())
        return [next(p) if is_defined else None for is_defined in defined]

    def row(self, dose: int, p: float | None) -> dict[str, Any]:
        """One dose as plain data."""
        interval, random = self.interval(dose), self.random_means[:, dose]
        controlled = bool(len(random))
        return {
            "mean": float(self.means[dose]),
            "low": interval.low if interval else None,
            "high": interval.high if interval else None,
            "n": self.values.shape[1],
            "random_mean": float(random.mean()) if controlled else None,
            "random_low": float(random.min()) if controlled else None,
            "random_high": float(random.max()) if controlled else None,
            "p": p,
        }
