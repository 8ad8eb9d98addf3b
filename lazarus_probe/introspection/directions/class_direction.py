"""The direction from one class of prompts to another, and how well it separates held-out prompts.

`difference` is the difference of the classes' means (Marks & Tegmark 2023, arXiv:2310.06824). `logistic` is the
coefficient of a logistic regression, brought back to the units of the activations and to the length of the classes'
distance along it: added once, either takes the mean of one class to that of the other, as seen along itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.spelling import one_of
from lazarus_probe.statistics import Interval, grouped_folds, proportion_interval
from lazarus_probe.statistics.probes.linear import in_span, standardise
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH
from lazarus_probe.statistics.threads import one_thread

Method = Literal["logistic", "difference"]
METHODS: tuple[Method, ...] = ("logistic", "difference")
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ClassDirection:
    """A direction from class b to class a.

    Attributes:
        vector: (D,) made from all prompts.
        method: how.
        accuracy: of naming the class of held-out prompts by the side of the midpoint that they lie on.
        interval: of the accuracy.
        separation: of held-out prompts along it: their classes' distance in pooled standard deviations (Cohen's d);
            None where the classes have no spread.
        class_a_mean_projection: of the prompts that it was made from, on the unit direction.
        class_b_mean_projection: the same of class b.
    """

    vector: Floats
    method: Method
    accuracy: float
    interval: Interval
    separation: float | None
    class_a_mean_projection: float
    class_b_mean_projection: float

    @property
    def norm(self) -> float:
        """The vector's length."""
        return float(np.linalg.norm(self.vector))

    def top_neurons(self, count: int = 10) -> list[tuple[int, float]]:
        """The coordinates of the largest weights, either sign, with their weights."""
        order = np.argsort(-np.abs(self.vector), kind="stable")[:count].tolist()
        return [(neuron, float(self.vector[neuron])) for neuron in order]


def class_direction(
    features: NDArray[Any], is_a: NDArray[np.bool_], groups: NDArray[Any], method: Method, seed: int = 0
) -> ClassDirection:
    """The direction from one class to another, with what it is worth on groups that it was not made from.

    Args:
        features: (N, D) activations.
        is_a: (N,) which rows are of class a.
        groups: (N,) what a split keeps together.
        method: `logistic` or `difference`.
        seed: of folds and intervals.

    Raises:
        ValueError: no grouped split, or classes that do not differ.
    """
    features = features.astype(np.float64)
    with one_thread():
        vector = fit_direction(features, is_a, method)
        along = np.empty(len(is_a))
        for train, test in grouped_folds(is_a, groups, seed=seed):
            along[test] = _from_midpoint(features[train], is_a[train], features[test], method)
    right = (along > 0) == is_a
    projected = features @ (vector / np.linalg.norm(vector))
    return ClassDirection(
        vector=vector,
        method=method,
        accuracy=float(right.mean()),
        interval=proportion_interval(right, groups, seed=seed),
        separation=cohens_d(along[is_a], along[~is_a]),
        class_a_mean_projection=float(projected[is_a].mean()),
        class_b_mean_projection=float(projected[~is_a].mean()),
    )


def fit_direction(features: Floats, is_a: NDArray[np.bool_], method: Method) -> Floats:
    """(D,) from class b to class a.

    Raises:
        ValueError: an unknown method, or classes that do not differ.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; {one_of(method, METHODS)}")
    gap = features[is_a].mean(0) - features[~is_a].mean(0)
    if np.abs(gap).max() <= 1e-6 * np.abs(features).max():
        raise ValueError("the classes have the same mean here; there is no direction between them")
    if method == "difference":
        return np.asarray(gap)
    coefficient = _coefficient(features, is_a)
    unit = coefficient / np.linalg.norm(coefficient)
    return np.asarray(unit * float(gap @ unit))


def cohens_d(first: Floats, second: Floats) -> float | None:
    """The distance of two means in pooled standard deviations; None without spread, or with one value a side."""
    freedom = len(first) + len(second) - 2
    squares = sum(float(((each - each.mean()) ** 2).sum()) for each in (first, second))
    if freedom < 1 or squares <= 1e-20 * max(1.0, float(np.abs(first).max()) ** 2):
        return None
    return float((first.mean() - second.mean()) / np.sqrt(squares / freedom))


def _coefficient(features: Floats, is_a: NDArray[np.bool_]) -> Floats:
    """(D,) the logistic regression's, of features as they are."""
    scaled = standardise(features, features[:0])[0]
    rotated = in_span(scaled, scaled)[0]
    fit = fit_logistic(rotated, is_a.astype(np.intp), USUAL_STRENGTH)
    # The optimum lies in the span of the rows; there its scores give it back.
    weights = np.linalg.lstsq(scaled, rotated @ fit.weights[:, 0], rcond=None)[0]
    deviation = features.std(0)
    return np.divide(weights, deviation, out=np.zeros_like(weights), where=scaled.any(0))


def _from_midpoint(features: Floats, is_a: NDArray[np.bool_], unseen: Floats, method: Method) -> Floats:
    """Where other rows (M, D) lie along the direction of some, from the middle between the classes."""
    try:
        direction = fit_direction(features, is_a, method)
    except ValueError:
        return np.zeros(len(unseen))  # no direction on this training side names no class
    unit = direction / np.linalg.norm(direction)
    middle = (features[is_a].mean(0) + features[~is_a].mean(0)) @ unit / 2
    return np.asarray(unseen @ unit - middle)
