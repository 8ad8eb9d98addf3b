"""How many trials it takes to tell a proportion from a baseline."""

from __future__ import annotations

from math import ceil
from statistics import NormalDist

import numpy as np


def power_of(n: int, effect: float, baseline: float, alpha: float = 0.05) -> float:
    """The chance that `n` independent trials tell a true proportion `effect` from `baseline`.

    The test is the exact binomial one, one-sided towards the effect.

    Args:
        n: trials; for rows in clusters, the effective number.
        effect: the true proportion.
        baseline: the proportion under the null, such as chance.
        alpha: the false-alarm rate allowed.

    Raises:
        ValueError: `n` below 1, `effect` equal to `baseline`, or a proportion or rate outside its range.
    """
    from scipy.stats import binom

    if n < 1:
        raise ValueError(f"n is {n}: a test needs at least one trial")
    effect, baseline = _upwards(effect, baseline, alpha)
    return float(binom.sf(binom.isf(alpha, n, baseline), n, effect))


def required_n(effect: float, baseline: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """The fewest trials from which on the power of `power_of` never falls below `power`.

    The exact power moves in teeth as n grows; a single n that happens to lie on top of one is not returned.

    Raises:
        ValueError: as `power_of`, or a `power` outside (0, 1), or an effect so small that a million trials
            are too few.
    """
    from scipy.stats import binom

    effect, baseline = _upwards(effect, baseline, alpha)
    if not 0 < power < 1:
        raise ValueError(f"power is {power}: give a share between 0 and 1, such as 0.8")
    n = np.arange(1, _enough(effect, baseline, alpha, power))
    failures = n[binom.sf(binom.isf(alpha, n, baseline), n, effect) < power]
    return int(failures[-1]) + 1 if len(failures) else 1


def required_groups(
    groups: int, reach: float, effect: float, threshold: float, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """How many independent groups it takes for an interval to clear a threshold, from the width of one that is known.

    Widths shrink with the root of the number of groups: `G * ((1 + z_power / z_alpha) * reach / |effect -
    threshold|) ** 2`, with the z of a two-sided interval of level `1 - alpha`.

    Args:
        groups: that the known interval rests on.
        reach: from the score to the end of it that faces the threshold.
        effect: the true score.
        threshold: to be cleared.
        alpha: one less the interval's level.
        power: the chance to clear it.

    Returns:
        The number, or None where the effect is no further than the threshold or the interval has no width.
    """
    if effect == threshold or reach <= 0:
        return None
    normal = NormalDist()
    z = normal.inv_cdf(1 - alpha / 2)
    factor = (1 + normal.inv_cdf(power) / z) * reach / abs(effect - threshold)
    return ceil(groups * factor**2)


def implied_p(score: float, low: float, high: float, null: float, level: float = 0.95) -> float:
    """The one-sided p of a score above `null`, read off the interval of the score (Altman & Bland 2011).

    The side that faces the null is taken as normal: p is `(1 - level) / 2` where its end lies on the null. An interval
    without width leaves no doubt.
    """
    z = NormalDist().inv_cdf((1 + level) / 2)
    reach = score - low if score >= null else high - score
    if reach <= 0:
        return 0.0 if score >= null else 1.0
    return NormalDist().cdf(-z * (score - null) / reach)


def _enough(effect: float, baseline: float, alpha: float, power: float) -> int:
    """A number of trials that suffices by far: twice the normal approximation and some."""
    normal = NormalDist()
    spread = (baseline * (1 - baseline)) ** 0.5 * normal.inv_cdf(1 - alpha)
    spread += (effect * (1 - effect)) ** 0.5 * max(0.0, normal.inv_cdf(power))
    n = (spread / (effect - baseline)) ** 2
    if n > 1_000_000:
        raise ValueError(
            f"effect {effect:g} against {baseline:g} needs more than a million trials: declare a larger one"
        )
    return 2 * int(n) + 100


def _upwards(effect: float, baseline: float, alpha: float) -> tuple[float, float]:
    """The same question with the effect above the baseline."""
    if not (0 <= effect <= 1 and 0 < baseline < 1):
        raise ValueError(
            f"effect {effect} and baseline {baseline} must be proportions, the baseline neither 0 nor 1"
        )
    if effect == baseline:
        raise ValueError(f"effect and baseline are both {effect}: no number of trials tells them apart")
    if not 0 < alpha < 0.5:
        raise ValueError(f"alpha is {alpha}: give a rate between 0 and 0.5, such as 0.05")
    return (effect, baseline) if effect > baseline else (1 - effect, 1 - baseline)
