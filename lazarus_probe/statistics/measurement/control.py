"""A control of a measurement: what needs none of the claim, and what the score gains over it."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_probe.statistics.intervals import estimate, shown
from lazarus_probe.statistics.measurement.checks import check_finite, check_interval


@dataclass(frozen=True)
class Control:
    """Something that needs none of the claim, and how much the claim's score gains over it.

    `gain` is paired with the score wherever both are of the same prompts; `low` and `high` are its
    interval. For a claim of absence the control is a positive one (what the instrument does find) and the
    gain is the control's over the score. `spread` is the part of the interval's reach that no number of prompts
    narrows: how far one more model of the control's kind may fall from those that were measured.

    Example:
        >>> from lazarus_probe import Control
        >>> Control("bag_of_tokens", score=0.70, gain=0.25, low=0.18, high=0.31).gain
        0.25
    """

    name: str
    score: float
    gain: float
    low: float
    high: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        check_finite(f"control {self.name!r}", score=self.score, spread=self.spread)
        check_interval(f"control {self.name!r}", "gain", self.gain, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.name} {shown(self.score)} (gain {estimate(self.gain, self.low, self.high)})"
