"""Evidence about the mean of a bounded score, by betting: it holds for any distribution, and whenever one looks.

Waudby-Smith & Ramdas 2024 (arXiv:2010.09686): who bets that a mean is above a value, and may not go into debt, holds on
average no more than at the start if it is not. So a wealth of 1/alpha is reached, at any time and however it was
decided to go on, in at most alpha of the worlds in which the mean is not above it (Ville 1939). Wealth from
independent scores can be multiplied, which is how little on each of many strata says much about all of them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from math import comb, inf, log

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import Floats

STAKES = (
    1 - (np.arange(16) / 16) ** 2
)  # of the largest that cannot lead into debt; most where nearly all is right
CASH = (0.5, 0.1, 0.01)  # shares that are never bet, so that one bad stratum costs the others little
STRATEGIES = len(STAKES) * len(CASH)


def log_wealth(scores: ArrayLike, least: float) -> Floats:
    """The logarithm of the wealth of bets that the mean is above `least`, each from a wealth of 1.

    Args:
        scores: (N,) independent, each in [0, 1].
        least: the mean that is to be beaten, in [0, 1].

    Returns:
        (STRATEGIES,) of each stake and share of cash; infinite if the scores cannot come from a mean of `least`.

    Raises:
        ValueError: a score or `least` outside [0, 1].
    """
    values = np.asarray(scores, dtype=np.float64)
    if not 0 <= least <= 1:
        raise ValueError(f"least is {least}: give a mean in [0, 1]")
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("scores lie outside [0, 1]: scale them by the range that they can have")
    if least in (0, 1):  # a mean above 1 there is none, and any score above 0 shows a mean above 0
        return np.full(STRATEGIES, inf if least == 0 and values.any() else 0.0)
    with np.errstate(divide="ignore"):  # the whole stake is lost where a score of 0 meets the largest of them
        factors = np.maximum(1 + np.multiply.outer(STAKES / least, values - least), 0)
        bet = np.log(factors).sum(axis=1)
    cash = np.log(CASH)[:, None]
    return np.logaddexp(cash, np.log1p(-np.array(CASH))[:, None] + bet).ravel()


def log_mean(wealth: ArrayLike) -> float:
    """The logarithm of the wealth of all strategies together, where each began with an equal part of 1."""
    return float(np.logaddexp.reduce(np.asarray(wealth, dtype=np.float64)) - log(STRATEGIES))


def most_failing(evidence: Sequence[ArrayLike], alpha: float) -> int:
    """An upper bound on how many of N strata fail, which is too low at most alpha of the time.

    If k strata fail, then the product of their wealth, by each strategy and then on average over strategies, is a
    wealth too. It is never less than that of the k with the least by each strategy: where this is 1/alpha, that k
    strata fail is ruled out. Closed testing (Goeman & Solari 2011) with products of independent e-values (Vovk &
    Wang 2021).

    Args:
        evidence: N of (STRATEGIES,) log wealth of the bets that each does not fail; 0 of one that nothing is known of.
        alpha: the share of worlds in which the bound may be too low.
    """
    if not len(evidence):
        return 0
    products = np.cumsum(np.sort(np.asarray(evidence, dtype=np.float64), axis=0), axis=0)
    possible = [count for count, product in enumerate(products, 1) if log_mean(product) < log(1 / alpha)]
    return max(possible, default=0)


def most_of_all(failing: int, measured: int, of: int, alpha: float) -> int:
    """An upper bound on how many of all strata fail, where those measured were drawn at random without replacement.

    Exact, by the hypergeometric distribution: the most of which as few as `failing` or fewer would be drawn more than
    alpha of the time. Where all were measured it is `failing`.

    Args:
        failing: of those drawn, at most.
        measured: how many were drawn.
        of: how many there are.
        alpha: the share of draws in which the bound may be too low.
    """
    if measured == of:
        return failing
    fewer = range(failing + 1, of + 1)  # ever less likely to leave so few among those drawn
    return failing + bisect_left(fewer, True, key=lambda many: _at_most(failing, measured, many, of) <= alpha)


def _at_most(failing: int, measured: int, many: int, of: int) -> float:
    """The chance to draw so few or fewer failing where `many` fail."""
    ways = sum(comb(many, drawn) * comb(of - many, measured - drawn) for drawn in range(failing + 1))
    return ways / comb(of, measured)
