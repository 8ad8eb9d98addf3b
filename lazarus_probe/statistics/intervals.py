"""A confidence interval, and those of proportions from independent trials."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

NORMAL = NormalDist()


@dataclass(frozen=True)
class Interval:
    """A confidence interval, `low` to `high`, that covers the truth in a share `level` of repetitions."""

    low: float
    high: float
    level: float = 0.95

    @property
    def width(self) -> float:
        """`high - low`."""
        return self.high - self.low

    def __str__(self) -> str:
        return f"[{shown(self.low)}, {shown(self.high)}]"


def shown(number: float) -> str:
    """Two decimals, with no minus before a zero."""
    return f"{round(number, 2) + 0.0:.2f}"


def estimate(score: float, low: float, high: float) -> str:
    """A score with its interval, as in `0.95 [0.93, 0.97]`."""
    return f"{shown(score)} {Interval(low, high)}"


def wilson(successes: int, n: int, level: float = 0.95) -> Interval:
    """The score interval of a proportion from independent trials (Wilson 1927).

    Raises:
        ValueError: `n` below 1, `successes` outside 0..n, or `level` outside (0, 1).
    """
    _check_counts(successes, n)
    share, z = successes / n, NORMAL.inv_cdf(0.5 + checked_level(level) / 2)
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low = 0.0 if share == 0 else max(0.0, centre - half)
    high = 1.0 if share == 1 else min(1.0, centre + half)
    return Interval(float(low), float(high), level)


def exact(successes: int, n: int, level: float = 0.95) -> Interval:
    """The exact interval of a proportion from independent trials (Clopper & Pearson 1934).

    Raises:
        ValueError: `n` below 1, `successes` outside 0..n, or `level` outside (0, 1).
    """
    from scipy.special import betaincinv

    _check_counts(successes, n)
    tail = (1 - checked_level(level)) / 2
    low = betaincinv(successes, n - successes + 1, tail) if successes else 0.0
    high = betaincinv(successes + 1, n - successes, 1 - tail) if successes < n else 1.0
    return Interval(float(low), float(high), level)


def checked_level(level: float) -> float:
    """The level, if it is one.

    Raises:
        ValueError: it is outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level {level} is not a share: give one between 0 and 1, such as 0.95")
    return level


def _check_counts(successes: int, n: int) -> None:
    if n < 1:
        raise ValueError(f"n is {n}: a proportion needs at least one trial")
    if not 0 <= successes <= n:
        raise ValueError(f"successes is {successes}: it must lie in 0..{n}, the number of trials")
