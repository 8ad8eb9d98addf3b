"""The score of a probe of numbers: R2 in which a row's error counts for one standard deviation at most.

It is `1 - sum(min(e**2, c)) / sum(min(b**2, c))`: `e` is a row's error, `b` its label less the mean of the training
side, `c` the variance of all labels. As with R2, the mean of the training side scores 0 and a perfect prediction 1.

Plain R2 cannot be estimated from the rows that there are: one unit in a hundred that is predicted at the wrong end of
uniform labels takes .12 away, and that no such unit exists takes thousands of units to show. Here a blunder costs as
much as not knowing, which for uniform labels is 1.6 times its share of the rows. For small errors the score is stricter
than R2, since what it divides by is capped too: for uniform labels `1 - score` is `(1 - R2) / .615`.

Its intervals are made as those of bounded means, of randomly weighted units and one that was not seen. Variance and
mean are themselves estimates: with the variance fixed at the sample's, ten groups of skewed labels miss a true .95 in
12% of samples, and with the mean fixed, 150 groups a true 0 in 14%. So both are taken anew under each draw's weights.
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
CAPS = 24
# Labels that a unit not seen may have, in standard deviations from the mean, besides one a whole range away: which is
# worst depends on the draw.
LABELS = np.array([0.0, 0.5, 1.0, 1.5])


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


def capped_squares(errors: Floats, cap: float | Floats) -> Floats:
    """The squares of errors of any shape, each at most the cap, or one cap for each of the last axis."""
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
    draws_of = _reweighted(probe, [probe.errors], units, draws, seed)
    lows = [1 - (lost[0] + draws_of.unseen) / of for of, lost in draws_of.sums]
    highs = [1 - lost[0] / of for of, lost in draws_of.sums]
    return _between(lows, highs, probe.score, level)


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
    draws_of = _reweighted(probe, [probe.errors, scaled], units, draws, seed)
    lows = [(most * lost[1] - lost[0] - draws_of.unseen) / of for of, lost in draws_of.sums]
    highs = [(most * (lost[1] + draws_of.unseen) - lost[0]) / of for of, lost in draws_of.sums]
    return _between(lows, highs, probe.score - other.score, level)


@dataclass(frozen=True)
class _Reweighted:
    """Capped sums under each draw's weights, in shares of that draw's variance.

    Attributes:
        sums: for each label that the unit not seen may have, (draws,) of the mean, that unit counted, and (P, draws)
            of P predictions without it: its errors can be anything from none to a full one, whatever its label.
        unseen: (draws,) the weight of that unit.
    """

    sums: Sequence[tuple[Floats, Floats]]
    unseen: Floats


def _reweighted(
    probe: NumberErrors, predictions: Sequence[Floats], units: Units, draws: int, seed: int
) -> _Reweighted:
    centred, variance = probe.labels - probe.labels.mean(), probe.variance
    moments = np.stack([np.ones_like(centred), centred, centred**2], axis=1)
    (total, first, second), unseen = _columns(moments, units, draws, seed)
    # How far the label of the unit not seen is from the mean: it decides what the mean loses on it, and moves the cap.
    labels = [*(np.sqrt(variance) * LABELS), np.ptp(centred)]
    mean, smallest = first / (total + unseen), 1e-6 * variance  # all weight may be on rows of one label
    cap = [
        np.maximum((second + unseen * label**2) / (total + unseen) - mean**2, smallest) for label in labels
    ]
    caps = np.geomspace(np.min(cap), np.max(cap), CAPS)
    tables = [
        np.stack([capped_squares(errors, cap).mean(axis=1) for cap in caps], axis=1)
        for errors in (probe.away[:, None], *predictions)
    ]
    columns, _ = _columns(np.concatenate(tables, axis=1), units, draws, seed)
    table = columns.reshape(len(tables), CAPS, draws)
    # What the mean's own error does to its capped squares, to first order, as a factor, which leaves them above 0.
    inside = probe.away * (probe.away**2 < variance)
    factor = np.exp(-2 * inside.sum() / capped_squares(probe.away, variance).sum() * first / total)
    sums = []
    for label, limit in zip(labels, cap, strict=True):
        own, *lost = _at(limit, caps, table) / limit
        sums.append((factor * own + unseen * np.minimum(label**2 / limit, 1), np.stack(lost)))
    return _Reweighted(sums, unseen)


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


def _between(lows: Sequence[Floats], highs: Sequence[Floats], score: float, level: float) -> Interval:
    """The interval of the draws (draws,), each at the label of the unit not seen that is worst for it."""
    tail = (1 - checked_level(level)) / 2
    low = order_statistic(np.min(lows, axis=0), tail)
    return Interval(min(low, score), max(order_statistic(np.max(highs, axis=0), 1 - tail), score), level)
