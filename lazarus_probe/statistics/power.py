"""How many independent groups it takes for an interval to clear a threshold, and the p that an interval implies."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from math import log
from statistics import NormalDist

import numpy as np

from lazarus_probe.statistics.bounded import unit_weights
from lazarus_probe.statistics.clusters import Floats

# Simulated samples of groups, and draws of the weights for each sample's interval: the power is then known to 3 points,
# which moves the number of groups by less than a tenth.
SAMPLES, DRAWS = 240, 500
# Beyond so many groups the interval is Student's, and its power the normal one.
MANY = 300
# Beyond so many groups the number is not worth reporting.
MOST = 20_000


@lru_cache(maxsize=1024)
def required_groups(
    groups: int,
    score: float,
    reach: float,
    effect: float,
    threshold: float,
    low: float = 0.0,
    high: float = 1.0,
    level: float = 0.95,
    power: float = 0.8,
) -> int | None:
    """How many independent groups it takes for the interval of a bounded mean to clear a threshold.

    Found by simulation of `bounded_mean_interval` itself: how far groups differ from each other is taken from the width
    of the interval that is known, relative to all-or-nothing groups of its score, and carried over to the effect. Where
    the known score shows no spread, groups are taken to be all or nothing.

    Args:
        groups: that the known interval rests on.
        score: that it is of.
        reach: from the score to the end of it that faces the threshold.
        effect: the true score.
        threshold: to be cleared: from below, if it lies below the effect.
        low: the least a group can score: 0, or below it for differences.
        high: the most.
        level: of the interval.
        power: the chance to clear the threshold.

    Returns:
        The number, or None where the effect is no further than the threshold, or more than `MOST` would be needed.

    Raises:
        ValueError: an effect outside the range.
    """
    if not low <= effect <= high:
        raise ValueError(f"effect is {effect:g}: give one within {low:g} to {high:g}")
    if effect == threshold:
        return None
    # In shares of the range, and turned so that the interval's low end must clear a threshold below the effect.
    scale, worst = (high, -1.0) if low < 0 else (high - low, 0.0)
    score, effect, threshold = ((value - max(low, 0.0)) / scale for value in (score, effect, threshold))
    if threshold > effect:
        mirror = 0.0 if worst else 1.0
        score, effect, threshold = mirror - score, mirror - effect, mirror - threshold
    if threshold < worst:
        return 2
    spread = _spread(groups, score, reach / scale, worst, level)
    return _fewest(lambda count: _power(count, effect, spread, threshold, worst, level) >= power)


def implied_p(score: float, low: float, high: float, null: float, level: float = 0.95) -> float:
    """The one-sided p of a score above `null`, read off the interval of the score (Altman & Bland 2011).

    Within the interval the side that faces the null is taken as normal: p is `(1 - level) / 2` where its end lies on
    the null. Beyond it the tail is taken to fall as an exponential, as that of few groups does: a normal tail would
    make 1e-17 of five groups. An interval without width leaves no doubt.
    """
    tail = (1 - level) / 2
    reach = score - low if score >= null else high - score
    if reach <= 0:
        return 0.0 if score >= null else 1.0
    steps = (score - null) / reach
    if steps > 1:
        return float(np.exp(steps * log(tail)))
    return NormalDist().cdf(-NormalDist().inv_cdf((1 + level) / 2) * steps)


def _spread(groups: int, score: float, reach: float, worst: float, level: float) -> float:
    """The spread between groups that gives this reach; see `_samples`."""
    most = 1.0 if worst == 0 else 2.0
    if groups < 2 or abs(score) == 1 or (score == 0 and worst == 0):
        return 1.0
    least = 0.0
    for _ in range(8):
        middle = (least + most) / 2
        usual = score - _usual_low_end(groups, score, middle, worst, level)
        least, most = (middle, most) if usual < reach else (least, middle)
    return (least + most) / 2


def _power(groups: int, effect: float, spread: float, threshold: float, worst: float, level: float) -> float:
    if groups > MANY:
        normal = NormalDist()
        above = (effect - _lost(groups, effect, worst) - threshold) / _deviation(
            groups, effect, spread, worst
        )
        return normal.cdf(above - normal.inv_cdf((1 + level) / 2))
    return float(np.mean(_low_ends(groups, effect, spread, worst, level) >= threshold))


def _usual_low_end(groups: int, mean: float, spread: float, worst: float, level: float) -> float:
    if groups > MANY:
        reach = NormalDist().inv_cdf((1 + level) / 2) * _deviation(groups, mean, spread, worst)
        return mean - _lost(groups, mean, worst) - reach
    return float(np.median(_low_ends(groups, mean, spread, worst, level)))


def _lost(groups: int, mean: float, worst: float) -> float:
    """What the unit that was not seen takes away on average."""
    return (mean - worst) / (groups + 1)


def _deviation(groups: int, mean: float, spread: float, worst: float) -> float:
    size = abs(mean)
    variance = min(spread, 1.0) * size * (1 - size) + max(spread - 1, 0.0) * (1 - size)
    return max((variance / groups + _lost(groups, mean, worst) ** 2) ** 0.5, 1e-12)


@lru_cache(maxsize=256)
def _low_ends(groups: int, mean: float, spread: float, worst: float, level: float) -> Floats:
    """(SAMPLES,) the low ends of the intervals of simulated samples of groups."""
    weights = unit_weights(groups, DRAWS, 0)
    sums = _samples(groups, mean, spread).T @ weights[:, :-1].T + weights[:, -1] * worst
    rank = int((1 - level) / 2 * (DRAWS - 1))  # as np.quantile has it with method="lower", along rows
    return np.partition(sums / weights.sum(1), rank, axis=1)[:, rank]


def _samples(groups: int, mean: float, spread: float) -> Floats:
    """(groups, SAMPLES) values of groups.

    Up to a spread of 1 they lie between 0 and the sign of their mean, beta-distributed with that share of the variance
    that all-or-nothing groups have. Beyond, for differences, they are all or nothing, and some are of the other sign.
    """
    rng, size, sign = np.random.default_rng(groups), (groups, SAMPLES), -1.0 if mean < 0 else 1.0
    share = abs(mean)
    if spread > 1:
        opposite = (spread - 1) * (1 - share) / 2
        signs = np.array([sign, 0.0, -sign])
        return rng.choice(signs, p=[share + opposite, 1 - share - 2 * opposite, opposite], size=size)
    if spread <= 1e-3 or share in (0.0, 1.0):
        return np.full(size, mean)
    if spread >= 1 - 1e-3:
        return np.where(rng.random(size) < share, sign, 0.0)
    weight = 1 / spread - 1
    return np.asarray(sign * rng.beta(share * weight, (1 - share) * weight, size))


def _fewest(enough: Callable[[int], bool]) -> int | None:
    """The fewest groups that are enough, found by doubling and halving; power in teeth may make it off by a few."""
    most = 2
    while not enough(most):
        most *= 2
        if most > MOST:
            return None
    least = most // 2
    while most - least > max(1, most // 50):
        middle = (least + most) // 2
        least, most = (least, middle) if enough(middle) else (middle, most)
    return most
