"""The interval of a difference of two independent estimates, from the interval of each."""

from __future__ import annotations

from math import hypot

from lazarus_probe.statistics.intervals import Interval


def difference_interval(first: float, of_first: Interval, second: float, of_second: Interval) -> Interval:
    """The interval of `first - second` by the square-and-add method (Newcombe 1998; Zou & Donner 2008).

    It keeps what the two intervals know about small samples: two perfect scores of ten rows each do not
    differ by exactly 0. For paired rows use `paired_interval`, which is narrower.

    Raises:
        ValueError: an estimate outside its own interval, or intervals of different levels.
    """
    for estimate, interval in ((first, of_first), (second, of_second)):
        if not interval.low - 1e-9 <= estimate <= interval.high + 1e-9:
            raise ValueError(f"estimate {estimate:g} lies outside its interval {interval}")
    if of_first.level != of_second.level:
        raise ValueError(f"levels {of_first.level} and {of_second.level} differ: give intervals of one level")
    gap = first - second
    down = hypot(first - of_first.low, of_second.high - second)
    up = hypot(of_first.high - first, second - of_second.low)
    return Interval(gap - down, gap + up, of_first.level)
