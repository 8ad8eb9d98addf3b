"""Linear probes scored on held-out groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints, as_values
from lazarus_probe.statistics.folds import Kind, encode, grouped_folds, groups_per_class, half_of_groups
from lazarus_probe.statistics.probes.linear import (
    as_features,
    choose_penalty,
    hat,
    in_span,
    ridge_paths,
    standardise,
)
from lazarus_probe.statistics.probes.logistic import curvature, fit_logistic, indicate

# Inverse penalties of the logistic regression, and the one taken where too few groups are left to choose.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
USUAL_STRENGTH = 0.1
# The slope of the mean loss at which a logistic regression has been fitted.
TOLERANCE = 1e-3


@dataclass(frozen=True)
class OutOfFold:
    """What probes predict of rows whose group is held out.

    Attributes:
        predictions: (N,) classes or numbers.
        penalties: (folds,) of each fold's probe: the inverse penalty of classes, the penalty of numbers.
    """

    predictions: NDArray[Any]
    penalties: tuple[float, ...]


def out_of_fold(
    features: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None,
    kind: Kind = "classification",
    k: int = 5,
    seed: int = 0,
    *,
    penalties: Sequence[float] | None = None,
    half: bool = False,
    tolerance: float = TOLERANCE,
) -> OutOfFold:
    """Predict each row with a probe that was not trained on its group: a logistic regression, or for numbers a ridge.

    Features are standardised on the training side. The penalty is chosen on the training side as well, by
    grouped cross-validation among `STRENGTHS` (of classes; the strongest wins ties) or `PENALTIES` (of numbers);
    it is `USUAL_STRENGTH` where some class has a single group left there, `USUAL_PENALTY` where fewer than two
    groups are left to choose on. Rows are so weighted that each class keeps its overall share: a group
    held out leaves its class rarer in training, and a probe of noise would lean away from the answer, to
    scores far below chance. With many more features than rows the fit is made in the span of the rows, where it is
    the same.

    Args:
        features: (N, D) activations or counts.
        labels: (N,) classes or numbers.
        groups: (N,) the group of each row.
        kind: whether the labels are classes or numbers.
        k: folds, at most.
        seed: of the folds, and of the half.
        penalties: (folds,) those to take instead of choosing, as an earlier fit on these labels and groups chose.
        half: whether to train on half of the training groups of each fold, drawn at random, with every class.
        tolerance: where the logistic regression stops, as in `fit_logistic`.

    Raises:
        ValueError: as `grouped_folds`, features that are not a finite (N, D) array, targets that are not finite,
            penalties of another number than the folds, or no half with every class.
    """
    folds = grouped_folds(labels, groups, k, seed, kind)
    labels = np.asarray(labels) if kind == "classification" else as_values(labels, "targets")
    if penalties is not None and len(penalties) != len(folds):
        raise ValueError(f"{len(penalties)} penalties for {len(folds)} folds; give one for each")
    features, index = as_features(features, len(labels)), encode(np.asarray(groups), "groups")[1]
    fit = (
        _classes(labels, index, seed, tolerance)
        if kind == "classification"
        else _numbers(labels, index, seed)
    )
    predictions, chosen = np.empty_like(labels), []
    for number, (train, test) in enumerate(folds):
        rows = half_of_groups(labels, index, train, seed, kind) if half else train
        seen, unseen = in_span(*standardise(features[rows], features[test]))
        predictions[test], penalty = fit(seen, unseen, rows, None if penalties is None else penalties[number])
        chosen.append(penalty)
    return OutOfFold(predictions, tuple(chosen))


def out_of_fold_classification(
    features: ArrayLike, labels: ArrayLike, groups: ArrayLike | None, k: int = 5, seed: int = 0
) -> NDArray[Any]:
    """(N,) the class that `out_of_fold` predicts of each row."""
    return out_of_fold(features, labels, groups, "classification", k, seed).predictions


def out_of_fold_regression(
    features: ArrayLike, targets: ArrayLike, groups: ArrayLike | None, k: int = 5, seed: int = 0
) -> Floats:
    """(N,) the number that `out_of_fold` predicts of each row.

    Score with `number_errors`, against `mean_predictions` with the same groups, k and seed.
    """
    return out_of_fold(features, targets, groups, "regression", k, seed).predictions


Fit = Callable[[Floats, Floats, Ints, float | None], tuple[NDArray[Any], float]]


def _classes(labels: NDArray[Any], index: Ints, seed: int, tolerance: float) -> Fit:
    """Fits a logistic regression on some rows and gives the classes of others, and the strength it was fitted at."""
    classes, codes = encode(labels)
    shares = np.bincount(codes) / len(codes)

    def fit(seen: Floats, unseen: Floats, rows: Ints, strength: float | None) -> tuple[NDArray[Any], float]:
        if strength is None:
            strength = _choose_strength(seen, codes[rows], index[rows], seed, shares)
        probe = fit_logistic(seen, codes[rows], strength, shares, tolerance)
        return classes[probe.scores(unseen).argmax(1)], strength

    return fit


def _numbers(targets: Floats, index: Ints, seed: int) -> Fit:
    """Fits a ridge on some rows and gives the numbers of others, and the penalty it was fitted at."""

    def fit(seen: Floats, unseen: Floats, rows: Ints, penalty: float | None) -> tuple[NDArray[Any], float]:
        if penalty is None:
            penalty = choose_penalty(seen, targets[rows], index[rows], seed)
        taught = targets[rows]
        return taught.mean() + hat(seen, unseen, penalty) @ (taught - taught.mean()), penalty

    return fit


def _choose_strength(features: Floats, codes: Ints, index: Ints, seed: int, shares: Floats) -> float:
    """The inverse penalty that predicts held-out groups of the training side best; smallest of ties.

    What is compared is the first Newton step of each logistic regression, which is a ridge on the classes'
    indicators: it ranks penalties as the full fits do, and all of them cost less than one fit.
    """
    if groups_per_class(codes, index).min() < 2:
        return USUAL_STRENGTH
    penalties = [curvature(len(shares)) / strength for strength in STRENGTHS]
    folds, correct = grouped_folds(codes, index, 3, seed), np.zeros(len(STRENGTHS))
    for (_, b), path in zip(folds, ridge_paths(features, indicate(codes), folds, penalties), strict=True):
        correct += ((shares + path).argmax(2) == codes[b]).sum(1)
    return STRENGTHS[int(correct.argmax())]
