"""The direction from one class of activations to another, and how well it separates held-out groups.

Three methods. `difference_of_means` is the difference of the classes' means (Marks & Tegmark 2023, arXiv:2310.06824).
`lda` is Fisher's linear discriminant (1936), with the covariance shrunk. `logistic` is the coefficient of a logistic
regression, in the units of the activations. The norm of each is the distance of the class means along it: adding the
direction once moves one mean to the other along it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.spelling import one_of
from lazarus_probe.statistics.clustered import proportion_interval
from lazarus_probe.statistics.effect_size import cohens_d
from lazarus_probe.statistics.folds import Folds, grouped_folds
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.probes.linear import in_span, solve_shifted
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH
from lazarus_probe.statistics.threads import one_thread

Method = Literal["difference_of_means", "lda", "logistic"]
METHODS: tuple[Method, ...] = get_args(Method)
# Shrinkage of the covariance of LDA to a multiple of the identity.
SHRINKAGE = 0.1
Floats = NDArray[np.float64]
Labels = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class ClassDirection:
    """A direction from class b to class a.

    Attributes:
        vector: (D,) fitted on all prompts.
        method: of the fit.
        accuracy: held out, of classifying by the side of the midpoint.
        interval: of the accuracy.
        separation: held out, Cohen's d along the direction; None without spread.
        class_a_mean_projection: of the prompts that it was fitted on, on the unit direction.
        class_b_mean_projection: likewise.
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
        """The norm of the vector."""
        return float(np.linalg.norm(self.vector))

    def top_neurons(self, count: int = 10) -> list[tuple[int, float]]:
        """The coordinates of the largest weights, either sign, with their weights."""
        return [(i, float(self.vector[i])) for i in top_coordinates(self.vector, count)]


@dataclass(frozen=True, eq=False)
class Separation:
    """How well directions fitted on other groups separate N held-out rows.

    Attributes:
        hits: (N,) 1.0 where a row lies on its class's side of the midpoint of the training classes.
        cohens_d: of the two classes along the directions; None without spread.
    """

    hits: Floats
    cohens_d: float | None


def class_direction(
    features: NDArray[Any], is_a: Labels, groups: NDArray[Any], method: Method, seed: int = 0
) -> ClassDirection:
    """The direction from one class to another, with its accuracy and separation on held-out groups.

    Args:
        features: (N, D) activations.
        is_a: (N,) which rows are of class a.
        groups: (N,) what a split keeps together.
        method: `difference_of_means`, `lda` or `logistic`.
        seed: of folds and intervals.

    Raises:
        ValueError: no grouped split, or as `fit_direction`.
    """
    features = features.astype(np.float64)
    with one_thread():
        vector = fit_direction(features, is_a, method)
        (held_out,) = separations(features, [is_a], grouped_folds(is_a, groups, seed=seed), method)
    projected = features @ (vector / np.linalg.norm(vector))
    return ClassDirection(
        vector=vector,
        method=method,
        accuracy=float(held_out.hits.mean()),
        interval=proportion_interval(held_out.hits, groups, seed=seed),
        separation=held_out.cohens_d,
        class_a_mean_projection=float(projected[is_a].mean()),
        class_b_mean_projection=float(projected[~is_a].mean()),
    )


def top_coordinates(vector: NDArray[Any], count: int) -> list[int]:
    """The coordinates of a vector (D,) with the largest absolute values."""
    return [int(i) for i in np.argsort(-np.abs(vector), kind="stable")[:count]]


def fit_direction(features: NDArray[Any], is_a: Labels, method: Method) -> Floats:
    """(D,) the direction of activations (N, D) from class b to class a; its norm is the distance of the means along it.

    Raises:
        ValueError: an unknown method, or equal class means.
    """
    if method not in METHODS:
        raise ValueError(f"method {method!r} is unknown; {one_of(method, METHODS)}")
    features = np.asarray(features, dtype=np.float64)
    gap = _gap(features, is_a)
    if np.abs(gap).max() <= 1e-6 * np.abs(features).max():
        raise ValueError("the classes have the same mean here; there is no direction between them")
    if method == "difference_of_means":
        return gap
    rows, scale = _scaled(features, method)
    narrow = in_span(rows, rows, wide=1)[0]
    # The direction lies in the span of the rows, so its scores determine it.
    weights = np.linalg.lstsq(rows, narrow @ _weights(narrow, is_a, method), rcond=None)[0] / scale
    unit = weights / np.linalg.norm(weights)
    return np.asarray(unit * float(gap @ unit))


def separations(
    features: NDArray[Any], labelings: Sequence[Labels], folds: Folds, method: Method
) -> list[Separation]:
    """How well directions separate held-out groups, for several labelings of the same rows.

    Args:
        features: (N, any) activations, or other features.
        labelings: which rows are of class a, (N,) each: the true labels, or shuffled ones.
        folds: training and test rows, of whole groups. With shuffled labels, not stratified: folds that are balanced
            for the true labels alone would favour them.
        method: `difference_of_means`, `lda` or `logistic`.
    """
    rows, _ = _scaled(np.asarray(features, dtype=np.float64), method)
    # All directions lie in the span of the rows, whose rank is at most N.
    narrow = in_span(rows, rows, wide=1)[0]
    return [_separation(narrow, is_a, folds, method) for is_a in labelings]


def _separation(rows: Floats, is_a: Labels, folds: Folds, method: Method) -> Separation:
    along, hits = np.zeros(len(rows)), np.zeros(len(rows))
    for train, test in folds:
        if is_a[train].all() or not is_a[train].any():
            hits[test] = is_a[test] == is_a[train][0]  # one class to train on: there is no direction
            continue
        vector = _weights(rows[train], is_a[train], method)
        unit = vector / max(float(np.linalg.norm(vector)), 1e-12)
        scores = rows[train] @ unit
        midpoint = (scores[is_a[train]].mean() + scores[~is_a[train]].mean()) / 2
        along[test] = rows[test] @ unit - midpoint
        hits[test] = (along[test] > 0) == is_a[test]
    return Separation(hits, cohens_d(along[is_a], along[~is_a]))


def _scaled(features: Floats, method: Method) -> tuple[Floats, Floats]:
    """Centred rows, for a logistic regression standardised; and the scale of each coordinate (D,)."""
    centred = features - features.mean(0)
    if method != "logistic":
        return centred, np.ones(features.shape[1])
    deviation = features.std(0)
    scale = np.where(deviation > 1e-6 * np.abs(features.mean(0)), deviation, np.inf)
    return centred / scale, scale


def _weights(rows: Floats, is_a: Labels, method: Method) -> Floats:
    """(K,) a direction of scaled rows (N, K) from class b to class a, of any norm."""
    gap = _gap(rows, is_a)
    if method == "difference_of_means":
        return gap
    if method == "logistic":
        return fit_logistic(rows - rows.mean(0), is_a.astype(np.intp), USUAL_STRENGTH).weights[:, 0]
    within = np.where(is_a[:, None], rows - rows[is_a].mean(0), rows - rows[~is_a].mean(0))
    covariance = within.T @ within / len(rows)
    level = float(np.trace(covariance)) / min(rows.shape)
    if level == 0:
        return gap
    return solve_shifted((1 - SHRINKAGE) * covariance, SHRINKAGE * level, gap[:, None])[:, 0]


def _gap(rows: Floats, is_a: Labels) -> Floats:
    return np.asarray(rows[is_a].mean(0) - rows[~is_a].mean(0))
