"""How far apart two groups of numbers are, in units of their spread."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def cohens_d(first: ArrayLike, second: ArrayLike) -> float | None:
    """The difference of two means in pooled standard deviations (Cohen 1988), positive where the first is larger.

    The pooled variance is the sum of both groups' squared deviations over N - 2. It is the unbiased estimate of a
    common variance, also for groups of different size; the plain mean of two population variances is too small for
    few values, which makes d too large.

    Args:
        first: (N,) numbers.
        second: (M,) numbers.

    Returns:
        None where it is undefined: no spread within the groups, an empty group, or one value in each.
    """
    groups = [np.asarray(values, dtype=np.float64) for values in (first, second)]
    freedom = sum(map(len, groups)) - 2
    if freedom < 1 or not all(map(len, groups)):
        return None
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in groups)
    largest = max(float(np.abs(values).max()) for values in groups)
    if squares <= 1e-20 * max(1.0, largest**2):
        return None
    return float((groups[0].mean() - groups[1].mean()) / np.sqrt(squares / freedom))
