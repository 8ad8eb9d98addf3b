"""Whether two numbers of the same prompts depend on each other in any way: HSIC, with a permutation test.

Gretton et al. 2005, "Measuring Statistical Dependence with Hilbert-Schmidt Norms". A correlation of zero rules out no
bend; this does, given rows enough. Shi et al. 2024 (arXiv:2410.13032) ask so whether what is left of a model without a
circuit still follows the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.permutation import permutation_p
from lazarus_probe.statistics.rows import numbers

DRAWS = 999
FEWEST = 10  # rows


@dataclass(frozen=True)
class Dependence:
    """What a test of independence found.

    Attributes:
        hsic: the statistic, 0 where nothing depends; biased upwards by about 1 / N.
        expected: its mean over permutations.
        p: the share of permutations, the rows as they are counted among them, with one at least as large.
        n: rows.
    """

    hsic: float
    expected: float
    p: float
    n: int


def dependence(first: ArrayLike, second: ArrayLike, draws: int = DRAWS, seed: int = 0) -> Dependence:
    """Test two numbers of N independent prompts for independence.

    Args:
        first: (N,) numbers.
        second: (N,) others of the same prompts.
        draws: permutations of the second.
        seed: of the permutations.

    Raises:
        ValueError: fewer than ten rows, lengths that differ, a number that is missing or not finite, or one that is the
            same in every row.
    """
    x, y = numbers(first, "first"), numbers(second, "second")
    if len(x) != len(y):
        raise ValueError(f"{len(x)} numbers and {len(y)} others; give as many of both")
    if len(x) < FEWEST:
        raise ValueError(f"{len(x)} rows show no dependence; give at least {FEWEST}")
    for name, values in (("first", x), ("second", y)):
        if np.ptp(values) == 0:
            raise ValueError(f"the {name} numbers are all {values[0]:g}; nothing can depend on them")
    kernel, other = _centred(_gaussian(x)), _gaussian(y)
    rng = np.random.default_rng(seed)
    observed = _statistic(kernel, other)
    orders = (rng.permutation(len(x)) for _ in range(draws))
    shuffled = np.array([_statistic(kernel, other[np.ix_(order, order)]) for order in orders])
    return Dependence(observed, float(shuffled.mean()), permutation_p(observed, shuffled), len(x))


def _gaussian(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(N, N) likeness of numbers by a Gaussian as wide as the median distance, as is usual."""
    distances = np.abs(values[:, None] - values)
    apart = distances[np.triu_indices(len(values), 1)]
    # Where most pairs are equal, the median is 0: then of those that differ.
    width = np.median(apart) or np.median(apart[apart > 0])
    return np.asarray(np.exp(-0.5 * np.square(distances / width)))


def _centred(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = kernel - kernel.mean(axis=0)
    return np.asarray(rows - rows.mean(axis=1, keepdims=True))


def _statistic(centred: NDArray[np.float64], kernel: NDArray[np.float64]) -> float:
    # One kernel may be centred alone: the trace of both centred is the same.
    return float((centred * kernel).sum() / (len(kernel) - 1) ** 2)
