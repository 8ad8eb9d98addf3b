"""Linear probes scored on groups they have not met."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints, as_values
from lazarus_probe.statistics.folds import encode, grouped_folds, groups_per_class
from lazarus_probe.statistics.linear import as_features, choose_penalty, hat, in_span, ridge_path, standardise
from lazarus_probe.statistics.logistic import curvature, fit_logistic, indicate

# Inverse penalties of the logistic regression, and the one taken where too few groups are left to choose.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
USUAL_STRENGTH = 0.1


def out_of_fold_classification(
    features: ArrayLike, labels: ArrayLike, groups: ArrayLike | None, k: int = 5, seed: int = 0
) -> NDArray[Any]:
    """Predict each row's class with a logistic regression that has not met its group.

    Features are standardised on the training side. The penalty is chosen on the training side as well, by
    grouped cross-validation among `STRENGTHS`, the strongest winning ties; it is `USUAL_STRENGTH` where some
    class has a single group left there. Rows are so weighted that each class keeps its overall share: a group
    held out leaves its class rarer in training, and a probe of noise would lean away from the answer, to
    scores far below chance. With more features than rows the fit is made in the span of the rows, where it is
    the same.

    Args:
        features: (N, D) activations or counts.
        labels: (N,) classes.
        groups: (N,) the group of each row.
        k: folds, at most.
        seed: of the folds.

    Returns:
        (N,) predicted classes.

    Raises:
        ValueError: as `grouped_folds`, or features that are not a finite (N, D) array.
    """
    folds = grouped_folds(labels, groups, k, seed)
    classes, codes = encode(labels)
    features, shares = as_features(features, len(codes)), np.bincount(codes) / len(codes)
    index, winners = encode(np.asarray(groups), "groups")[1], np.empty_like(codes)
    for train, test in folds:
        seen, unseen = in_span(*standardise(features[train], features[test]))
        strength = _choose_strength(seen, codes[train], index[train], seed, shares)
        winners[test] = fit_logistic(seen, codes[train], strength, shares).scores(unseen).argmax(1)
    return classes[winners]


def out_of_fold_regression(
    features: ArrayLike, targets: ArrayLike, groups: ArrayLike | None, k: int = 5, seed: int = 0
) -> Floats:
    """Predict each row's number with a ridge regression that has not met its group.

    Features are standardised on the training side; the penalty is chosen there by grouped cross-validation
    among `PENALTIES` (`USUAL_PENALTY` where fewer than two groups would be left to choose on). Predictions are kept
    within the range of the training targets: so the error of a row is bounded, and R2 has an interval. Score with
    `r2`, against `mean_predictions` with the same groups, k and seed.

    Args:
        features: (N, D) activations or counts.
        targets: (N,) numbers.
        groups: (N,) the group of each row.
        k: folds, at most.
        seed: of the folds.

    Returns:
        (N,) predicted numbers.

    Raises:
        ValueError: as `grouped_folds`, or features or targets that are not finite.
    """
    targets = as_values(targets, "targets")
    features, predictions = as_features(features, len(targets)), np.empty(len(targets))
    for train, test in grouped_folds(targets, groups, k, seed, "regression"):
        seen, unseen = in_span(*standardise(features[train], features[test]))
        penalty = choose_penalty(seen, targets[train], np.asarray(groups)[train], seed)
        mean = targets[train].mean()
        raw = mean + hat(seen, unseen, penalty) @ (targets[train] - mean)
        predictions[test] = np.clip(raw, targets[train].min(), targets[train].max())
    return predictions


def r2(targets: ArrayLike, predictions: ArrayLike, baseline: ArrayLike) -> float:
    """The share of squared error that the predictions take away from the baseline's: `1 - SS_res / SS_tot`.

    SS_tot is around the mean of the training side of each row's fold (`mean_predictions`), which is all that
    a model without features could know. Around the mean of all targets a held-out group would lend its own
    mean to the yardstick.

    Args:
        targets: (N,) numbers.
        predictions: (N,) out of fold.
        baseline: (N,) `mean_predictions` over the same folds.

    Raises:
        ValueError: shapes that differ, or a baseline without error.
    """
    y, guess, mean = as_values(targets), as_values(predictions), as_values(baseline)
    if not y.shape == guess.shape == mean.shape:
        raise ValueError(
            f"targets {y.shape}, predictions {guess.shape} and baseline {mean.shape} must have one length"
        )
    total = float(((y - mean) ** 2).sum())
    if total == 0:
        raise ValueError("targets are all equal to the baseline: R2 is not defined without variance")
    return 1 - float(((y - guess) ** 2).sum()) / total


def _choose_strength(features: Floats, codes: Ints, index: Ints, seed: int, shares: Floats) -> float:
    """The inverse penalty that predicts held-out groups of the training side best; smallest of ties.

    What is compared is the first Newton step of each logistic regression, which is a ridge on the classes'
    indicators: it ranks penalties as the full fits do, and all of them cost less than one fit.
    """
    if groups_per_class(codes, index).min() < 2:
        return USUAL_STRENGTH
    gram, indicators = features @ features.T, indicate(codes)
    penalties = [curvature(len(shares)) / strength for strength in STRENGTHS]
    correct = np.zeros(len(STRENGTHS))
    for a, b in grouped_folds(codes, index, 3, seed):
        guesses = (shares + ridge_path(gram, indicators, a, b, penalties)).argmax(2)
        correct += (guesses == codes[b]).sum(1)
    return STRENGTHS[int(correct.argmax())]
