"""How often a claim comes out wrong in a world where what is true is known, with a guard and without it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lazarus_probe.statistics.intervals import Interval, exact

ALPHA = 0.05


@dataclass(frozen=True)
class Rate:
    """How many of some draws come out wrong.

    Attributes:
        alarms: wrong verdicts.
        draws: of the world.
    """

    alarms: int
    draws: int

    @classmethod
    def of(cls, alarms: Callable[[int], bool], draws: int) -> Rate:
        """The rate over the seeds 0 to `draws`, each of which gives a wrong verdict or not."""
        return cls(sum(map(alarms, range(draws))), draws)

    @property
    def interval(self) -> Interval:
        """The exact interval of the rate (Clopper & Pearson 1934)."""
        return exact(self.alarms, self.draws)

    @property
    def allowed(self) -> bool:
        """Whether at most a share alpha of the draws comes out wrong."""
        return self.alarms <= ALPHA * self.draws

    def __str__(self) -> str:
        low, high = self.interval.low, self.interval.high
        return f"{self.alarms}/{self.draws} = {self.alarms / self.draws:.3f} [{low:.3f}, {high:.3f}]"


def line(world: str, guard: str, kept: Rate, lost: Rate | None) -> tuple[str, ...]:
    """One line of the table: a world, its guard, and how often a verdict is wrong with it and without it."""
    return world, guard, str(kept.draws), str(kept), "" if lost is None else str(lost)
