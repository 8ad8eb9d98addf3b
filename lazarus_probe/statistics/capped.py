"""The score of a probe of numbers: R2 in which a row's error counts for one standard deviation at most.

It is `1 - sum(min(e**2, c)) / sum(min(b**2, c))`: `e` is a row's error, `b` its label less the mean of the training
side, `c` the variance of all labels. As with R2, the mean of the training side scores 0 and a perfect prediction 1.

Plain R2 cannot be told from the rows that there are: one unit in a hundred that is predicted at the wrong end of
uniform labels takes .12 away, and that no such unit exists takes thousands of units to show. Here a blunder costs as
much as not knowing, which for uniform labels is 1.6 times its share of the rows. For small errors the score is stricter
than R2, since what it divides by is capped too: for uniform labels `1 - score` is `(1 - R2) / .615`.

Its intervals are made as those of bounded means, of randomly weighted units and one that was not seen. Variance and
mean are themselves estimates: fixed at those of the sample, they let the interval of ten groups of skewed labels miss
a true .95 in 12% of samples, and that of 150 groups a true 0 in 14%. So both are taken anew under each draw's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.bounded import DRAWS, Units, order_statistic, weighted_sums
from lazarus_probe.statistics.clusters import Floats, as_values
from lazarus_probe.statistics.intervals import Interval, checked_level

# Caps at which capped sums are tabulated; between them they are nearly linear in the cap.
CAPS = 16


@dataclass(frozen=True)
class NumberErrors:
    """Numbers, and how far predictions of them and their mean are off.

    Attributes:
        labels: (N,) the numbers.
        errors: (N, K) label less prediction, of K models whose mean score is meant.
        away: (N,) label less the mean of the training side.
    """

    labels: Floats
    errors: Floats
    away: Floats

    @property
    def variance(self) -> float:
        """Of the labels: where squared errors are capped."""
        return float(self.labels.var())

    @property
    def lost(self) -> Floats:
        """(N,) the capped squared errors in shares of the variance, 0 to 1, the mean of the models."""
        return np.asarray(capped_squares(self.errors, self.variance).mean(axis=1) / self.variance)

    @property
    def of(self) -> Floats:
        """(N,) those of the mean."""
        return capped_squares(self.away, self.variance) / self.variance

    @property
    def score(self) -> float:
        """The capped R2."""
        return float(1 - self.lost.sum() / self.of.sum())

    @property
    def r2(self) -> float:
        """The plain R2, for comparison with what others publish."""
        return float(1 - (self.errors**2).mean(axis=1).sum() / (self.away**2).sum())

    def take(self, rows: NDArray[np.intp]) -> NumberErrors:
        """Those of some rows, capped at the variance of these."""
        return NumberErrors(self.labels[rows], self.errors[rows], self.away[rows])


def number_errors(labels: ArrayLike, predictions: ArrayLike, means: ArrayLike) -> NumberErrors:
    """The errors of predictions (N,) and of the mean of the training side (N,), or of one mean for all rows.

    Raises:
        ValueError: shapes that differ, numbers that are not finite, or labels that are all equal.
    """
    values, guesses = as_values(labels, "labels"), as_values(predictions, "predictions")
    baseline = as_values(means, "means")
    if not values.shape == guesses.shape == baseline.shape:
        raise ValueError(
            f"labels {values.shape}, predictions {guesses.shape} and means {baseline.shape} must have one length"
        )
    if not np.ptp(values):
        raise ValueError(f"labels are all {values[0]:g}: R2 is not defined without variance")
    return NumberErrors(values, (values - guesses)[:, None], values - baseline)


def capped_squares(errors: Floats, cap: float) -> Floats:
    """The squares of errors of any shape, each at most the cap."""
    return np.asarray(np.minimum(errors**2, cap))


def capped_r2_interval(
    probe: NumberErrors, units: Units, level: float = 0.95, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The interval of a capped R2.

    Args:
        probe: the errors of N rows.
        units: (N,) the independent unit of each row, or several kinds of them by name.
        level: the coverage, each end missing at most half of the rest.
        draws: of the weights.
        seed: of the weights.

    Raises:
        ValueError: shapes that do not match, or fewer than two units of a kind.
    """
    # Of all rows that there can be, one of full error with the mean for a label lowers the score most, and one without
    # error and a label far off raises it most.
    weighted = _weighted(probe, [probe.errors], units, draws, seed)
    low = 1 - (weighted.near[1] + weighted.unseen) / weighted.near[0]
    high = 1 - weighted.far[1] / (weighted.far[0] + weighted.unseen)
    return _between(low, high, probe.score, level)


def capped_gain_interval(
    probe: NumberErrors,
    other: NumberErrors,
    units: Units,
    level: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """The interval of the gain of one capped R2 over another on the same rows, whose labels may be others.

    Args:
        probe: the errors of N rows.
        other: those of the control on the same rows.
        units: (N,) the independent unit of each row, or several kinds of them by name.
        level: the coverage, each end missing at most half of the rest.
        draws: of the weights.
        seed: of the weights.

    Raises:
        ValueError: as `capped_r2_interval`.
    """
    # A control of other labels is brought to these: to their variance, and to what the mean loses of them.
    scaled = other.errors * np.sqrt(probe.variance / other.variance)
    most = float(probe.of.sum() / other.of.sum())
    weighted = _weighted(probe, [probe.errors, scaled], units, draws, seed)
    lows, highs = [], []
    for (mean, ours, theirs), share in ((weighted.near, 0.0), (weighted.far, 1.0)):
        # Either error can be full and the other nothing, whatever the label. What lowers the gain most is a label of
        # small weight in the denominator where the gain is below 0, and a far one where it is above.
        below = mean + share * weighted.unseen
        lows.append((most * theirs - ours - weighted.unseen) / below)
        highs.append((most * theirs - ours + most * weighted.unseen) / below)
    return _between(np.minimum(*lows), np.maximum(*highs), probe.score - other.score, level)


@dataclass(frozen=True)
class _Weighted:
    """Capped sums under each draw's weights, in shares of that draw's variance.

    Attributes:
        near: (1 + P, draws) of the mean and of P predictions, the unit not seen having the mean for a label.
        far: the same, its label being a whole range of those seen away.
        unseen: (draws,) the weight of that unit.
    """

    near: Floats
    far: Floats
    unseen: Floats


def _weighted(
    probe: NumberErrors, predictions: Sequence[Floats], units: Units, draws: int, seed: int
) -> _Weighted:
    centred = probe.labels - probe.labels.mean()
    moments = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    (total, first, second), unseen = _columns(moments, units, draws, seed)
    mean = first / (total + unseen)
    smallest = 1e-6 * probe.variance  # a draw may give nearly all its weight to rows of one label
    near, far = (
        np.maximum((second + unseen * label**2) / (total + unseen) - mean**2, smallest)
        for label in (0.0, np.ptp(centred))
    )
    caps = np.geomspace(min(near.min(), far.min()), max(near.max(), far.max()), CAPS)
    tables = [
        np.stack([capped_squares(each, cap).mean(axis=1) for cap in caps], axis=1)
        for each in (probe.away[:, None], *predictions)
    ]
    columns, _ = _columns(np.concatenate(tables, axis=1), units, draws, seed)
    sums = columns.reshape(len(tables), CAPS, draws)
    # What the mean's own error does to its capped squares, to first order, as a factor, which leaves them above 0.
    inside = probe.away * (probe.away**2 < probe.variance)
    slope = -2 * inside.sum() / capped_squares(probe.away, probe.variance).sum()
    factor = np.ones((len(tables), draws))
    factor[0] = np.exp(slope * first / total)
    at_near, at_far = (factor * _at(cap, caps, sums) / cap for cap in (near, far))
    return _Weighted(at_near, at_far, unseen)


def _columns(columns: Floats, units: Units, draws: int, seed: int) -> tuple[Floats, Floats]:
    """(K, draws) the weighted sums of columns (N, K), and (draws,) the weight of what was not seen."""
    sums, unseen = weighted_sums(columns, units, draws, seed)
    return sums.T, unseen


def _at(cap: Floats, caps: Floats, sums: Floats) -> Floats:
    """(P, draws) the sums (P, CAPS, draws) at each draw's cap, linear between those that are tabulated."""
    above = np.clip(np.searchsorted(caps, cap), 1, CAPS - 1)
    share = (cap - caps[above - 1]) / (caps[above] - caps[above - 1])
    draw = np.arange(len(cap))
    return np.asarray((1 - share) * sums[:, above - 1, draw] + share * sums[:, above, draw])


def _between(low: Floats, high: Floats, score: float, level: float) -> Interval:
    tail = (1 - checked_level(level)) / 2
    return Interval(
        min(order_statistic(low, tail), score), max(order_statistic(high, 1 - tail), score), level
    )
