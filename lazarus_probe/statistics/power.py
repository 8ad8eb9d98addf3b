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
# More groups than this are not worth asking for by number.
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
    of the interval that is known, relative to the most that groups can differ at its score, and carried over to the
    effect. Where the known score shows no spread, groups are taken to be all or nothing.

    Args:
        groups: that the known interval rests on.
        score: that it is of.
        reach: from the score to the end of it that faces the threshold.
        effect: the true score.
        threshold: to be cleared: from below, if it lies below the effect.
        low: the least a group can score.
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
    width = high - low
    # All in shares of the range, turned so that the interval's low end must clear a threshold below the effect.
    score, effect, threshold = ((value - low) / width for value in (score, effect, threshold))
    if threshold > effect:
        score, effect, threshold = 1 - score, 1 - effect, 1 - threshold
    if threshold < 0:
        return 2
    spread = _relative_spread(groups, score, reach / width, level)
    return _fewest(lambda count: _power(count, effect, spread, threshold, level) >= power)


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


def _relative_spread(groups: int, score: float, reach: float, level: float) -> float:
    """The variance between groups that gives this reach, over the largest at that mean, `score * (1 - score)`."""
    if not 0 < score < 1 or groups < 2:
        return 1.0
    least, most = 0.0, 1.0
    for _ in range(8):
        middle = (least + most) / 2
        usual = score - _usual_low_end(groups, score, middle, level)
        least, most = (middle, most) if usual < reach else (least, middle)
    return (least + most) / 2


def _power(groups: int, effect: float, spread: float, threshold: float, level: float) -> float:
    if groups > MANY:
        normal, unseen = NormalDist(), effect / (groups + 1)
        deviation = (spread * effect * (1 - effect) / groups + unseen**2) ** 0.5
        return normal.cdf(
            (effect - unseen - threshold) / max(deviation, 1e-12) - normal.inv_cdf((1 + level) / 2)
        )
    return float(np.mean(_low_ends(groups, effect, spread, level) >= threshold))


def _usual_low_end(groups: int, mean: float, spread: float, level: float) -> float:
    if groups > MANY:
        deviation = (spread * mean * (1 - mean) / groups + (mean / (groups + 1)) ** 2) ** 0.5
        return mean - mean / (groups + 1) - NormalDist().inv_cdf((1 + level) / 2) * deviation
    return float(np.median(_low_ends(groups, mean, spread, level)))


@lru_cache(maxsize=256)
def _low_ends(groups: int, mean: float, spread: float, level: float) -> Floats:
    """(SAMPLES,) the low ends of the intervals of simulated samples of groups in [0, 1]."""
    samples = _samples(groups, mean, spread)
    weights = unit_weights(groups, DRAWS, 0)
    draws = (weights[:, :-1] @ samples) / weights.sum(1)[:, None]
    return np.asarray(np.quantile(draws, (1 - level) / 2, axis=0, method="lower"))


def _samples(groups: int, mean: float, spread: float) -> Floats:
    """(groups, SAMPLES) beta-distributed group means; all or nothing where the spread is the largest there can be."""
    rng = np.random.default_rng(groups)
    size = (groups, SAMPLES)
    if spread <= 1e-3 or mean in (0.0, 1.0):
        return np.full(size, mean)
    if spread >= 1 - 1e-3:
        return (rng.random(size) < mean).astype(np.float64)
    weight = 1 / spread - 1
    return rng.beta(mean * weight, (1 - mean) * weight, size)


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
