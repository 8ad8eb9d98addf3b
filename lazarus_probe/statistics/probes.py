"""Linear probes scored on groups they have not met, and the null they are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints, as_values
from lazarus_probe.statistics.folds import Folds, Kind, check_split, encode, grouped_folds, groups_per_class
from lazarus_probe.statistics.permutation import group_permutations, permutation_p

# Inverse penalties of the logistic regression, and the one taken where too few groups are left to choose.
STRENGTHS = (0.001, 0.01, 0.1, 1.0)
USUAL_STRENGTH = 0.1
# Penalties of the ridge, in units of the mean squared length of a row, and the one taken without a choice.
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
USUAL_PENALTY = 1.0
# Folds under the permutation null. Many, as unstratified ones may take all groups of a class at once.
NULL_FOLDS = 10
# Labels times draws handled in one matrix product, to bound memory.
BLOCK = 4_000_000


@dataclass(frozen=True)
class PermutationTest:
    """A score beside the scores of shuffled labels.

    Attributes:
        observed: the score of the true labels.
        null: (draws,) the scores of shuffled ones.
        p: how often chance does at least as well, `(1 + k) / (draws + 1)`.
    """

    observed: float
    null: Floats
    p: float


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
    labels, predictions = np.asarray(labels), np.empty_like(np.asarray(labels))
    features, shares = _as_features(features, len(labels)), _shares(labels)
    folds = grouped_folds(labels, groups, k, seed)
    with _unchecked():
        for train, test in folds:
            seen, unseen = _in_span(*_standardise(features[train], features[test]))
            strength = _choose_strength(seen, labels[train], np.asarray(groups)[train], seed, shares)
            model = _logistic(labels[train], shares).set_params(C=strength)
            predictions[test] = model.fit(seen, labels[train]).predict(unseen)
    return predictions


def out_of_fold_regression(
    features: ArrayLike, targets: ArrayLike, groups: ArrayLike | None, k: int = 5, seed: int = 0
) -> Floats:
    """Predict each row's number with a ridge regression that has not met its group.

    Features are standardised on the training side; the penalty is chosen there by grouped cross-validation
    among `PENALTIES` (`USUAL_PENALTY` where fewer than two groups would be left to choose on). Score with
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
    features, predictions = _as_features(features, len(targets)), np.empty(len(targets))
    for train, test in grouped_folds(targets, groups, k, seed, "regression"):
        seen, unseen = _in_span(*_standardise(features[train], features[test]))
        penalty = _choose_penalty(seen, targets[train], np.asarray(groups)[train], seed)
        mean = targets[train].mean()
        predictions[test] = mean + _hat(seen, unseen, penalty) @ (targets[train] - mean)
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


def permutation_null(
    features: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None,
    draws: int = 1000,
    seed: int = 0,
    kind: Kind = "classification",
) -> PermutationTest:
    """Score a ridge probe on the true labels and on labels shuffled by `group_permutations`.

    The predictions of a ridge are a fixed matrix times the labels, so it is made once for each fold and all
    shuffles are one matrix product. That holds only if nothing else looks at the labels: the folds are not
    stratified, the penalty is not chosen. (Folds balanced for the true labels and not for the shuffled would
    be an advantage of the true ones.) The score is out-of-fold accuracy, of the class whose indicator is
    predicted highest above its share in training, or `r2`. It is below what a tuned probe reaches, and serves
    for p alone.

    Args:
        features: (N, D) activations or counts.
        labels: (N,) classes or numbers.
        groups: (N,) the group of each row.
        draws: how many shuffles.
        seed: of folds and shuffles; the same seed gives the same shuffles at every layer, as
            `max_statistic_p` needs.
        kind: whether the labels are classes or numbers.

    Raises:
        ValueError: as `grouped_folds` and `group_permutations`.
    """
    labels = np.asarray(labels)
    features = _as_features(features, len(labels))
    check_split(labels, groups, kind)
    folds = grouped_folds(labels, groups, NULL_FOLDS, seed, "regression")
    shuffled = group_permutations(labels, np.asarray(groups), np.random.default_rng(seed), draws)
    rows = np.concatenate([labels[None], shuffled])
    hats = [_hat(*_standardise(features[train], features[test]), USUAL_PENALTY) for train, test in folds]
    scores = _accuracies(rows, folds, hats) if kind == "classification" else _r2s(rows, folds, hats)
    return PermutationTest(float(scores[0]), scores[1:], permutation_p(float(scores[0]), scores[1:]))


def _accuracies(rows: NDArray[Any], folds: Folds, hats: list[Floats]) -> Floats:
    """Out-of-fold accuracy of each row of labels (draws, N)."""
    classes, flat = encode(rows.ravel())
    codes = flat.reshape(rows.shape)
    blocks = np.array_split(codes, 1 + codes.size * len(classes) // BLOCK)
    return np.concatenate([_block_accuracies(block, len(classes), folds, hats) for block in blocks])


def _block_accuracies(codes: Ints, count: int, folds: Folds, hats: list[Floats]) -> Floats:
    draws, n = codes.shape
    indicators = (codes.T[:, :, None] == np.arange(count)).astype(np.float64).reshape(n, draws * count)
    correct = np.zeros(draws)
    for (train, test), hat in zip(folds, hats, strict=True):
        # Standardised features make the rows of the hat sum to 0: this predicts each class above its share.
        scores = (hat @ indicators[train]).reshape(len(test), draws, count)
        correct += (scores.argmax(2) == codes.T[test]).sum(0)
    return correct / n


def _r2s(rows: NDArray[Any], folds: Folds, hats: list[Floats]) -> Floats:
    """Out-of-fold R2 of each row of targets (draws, N)."""
    targets = rows.astype(np.float64).T
    left, total = np.zeros(len(rows)), np.zeros(len(rows))
    for (train, test), hat in zip(folds, hats, strict=True):
        mean = targets[train].mean(0)
        away = targets[test] - mean
        left += ((away - hat @ (targets[train] - mean)) ** 2).sum(0)
        total += (away**2).sum(0)
    return 1 - left / total


def _hat(seen: Floats, unseen: Floats, penalty: float) -> Floats:
    """The matrix (tests, trainings) that takes centred targets to a ridge's predictions, in its dual form."""
    gram = seen @ seen.T
    scale = float(np.trace(gram)) / len(seen)
    if (
        scale == 0
    ):  # constant features, as the embedding of a shared last token: nothing but the mean is known
        return np.zeros((len(unseen), len(seen)))
    system = gram + penalty * scale * np.eye(len(seen))
    return np.asarray(np.linalg.solve(system, seen @ unseen.T).T)


def _standardise(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Both sides with the mean and deviation of the training side; features constant there become 0."""
    mean, deviation = train.mean(0), train.std(0)
    scale = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)
    return (train - mean) / scale, (test - mean) / scale


def _in_span(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Rotate features into the span of the training rows: dot products there, and any L2 fit, stay."""
    if train.shape[1] <= len(train) or not train.any():
        return train, test
    squares, axes = np.linalg.eigh(train @ train.T)
    keep = squares > 1e-10 * squares[-1]
    lengths = np.sqrt(squares[keep])
    return axes[:, keep] * lengths, (test @ train.T) @ (axes[:, keep] / lengths)


def _shares(labels: NDArray[Any]) -> dict[Any, float]:
    """The share of each class."""
    classes, counts = np.unique(labels, return_counts=True)
    return dict(zip(classes, counts / len(labels), strict=True))


def _unchecked() -> Any:
    """Leave out scikit-learn's own checks, which for hundreds of small fits cost as much as the fits."""
    from sklearn import config_context

    return config_context(assume_finite=True, skip_parameter_validation=True)


def _logistic(labels: NDArray[Any], shares: dict[Any, float]) -> Any:
    """A logistic regression whose classes weigh as much as their shares; a second fit starts from the first."""
    from sklearn.linear_model import LogisticRegression

    weights = {name: shares[name] / share for name, share in _shares(labels).items()}
    return LogisticRegression(
        class_weight=weights, solver="newton-cg", max_iter=10_000, tol=1e-3, warm_start=True
    )


def _choose_strength(
    features: Floats, labels: NDArray[Any], groups: NDArray[Any], seed: int, shares: dict[Any, float]
) -> float:
    """The inverse penalty that predicts held-out groups of the training side best; smallest of ties."""
    if groups_per_class(encode(labels)[1], encode(groups)[1]).min() < 2:
        return USUAL_STRENGTH
    correct = np.zeros(len(STRENGTHS))
    for a, b in grouped_folds(labels, groups, 3, seed):
        model = _logistic(labels[a], shares)
        for i, strength in enumerate(STRENGTHS):
            predicted = model.set_params(C=strength).fit(features[a], labels[a]).predict(features[b])
            correct[i] += (predicted == labels[b]).sum()
    return STRENGTHS[int(correct.argmax())]


def _choose_penalty(features: Floats, targets: Floats, groups: NDArray[Any], seed: int) -> float:
    """The ridge penalty with the least squared error on held-out groups of the training side."""
    if len(np.unique(groups)) < 2:
        return USUAL_PENALTY
    errors = np.zeros(len(PENALTIES))
    for a, b in grouped_folds(targets, groups, 3, seed, "regression"):
        mean, center = targets[a].mean(), features[a].mean(0)
        for i, penalty in enumerate(PENALTIES):
            hat = _hat(features[a] - center, features[b] - center, penalty)
            errors[i] += ((targets[b] - mean - hat @ (targets[a] - mean)) ** 2).sum()
    return PENALTIES[int(errors.argmin())]


def _as_features(features: ArrayLike, n: int) -> Floats:
    array = np.asarray(features, dtype=np.float64)
    if array.ndim != 2 or len(array) != n or not array.shape[1]:
        raise ValueError(
            f"features has shape {array.shape}: give (N, D) with a row for each of the {n} labels"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"features holds a number that is not finite in row {int(np.argmin(np.isfinite(array).all(1)))}"
        )
    return array
