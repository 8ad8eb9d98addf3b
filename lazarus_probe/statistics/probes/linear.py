"""The arithmetic of linear probes: standardised features, and ridges at many penalties."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.clusters import Floats, Ints
from lazarus_probe.statistics.folds import Folds, grouped_folds

# Penalties of the ridge, in units of the mean squared length of a row, and the one taken without a choice.
PENALTIES = (0.001, 0.01, 0.1, 1.0, 10.0, 100.0)
USUAL_PENALTY = 1.0
# Features a row beyond which a single fit is made in the rows' span. Of 384 rows the span takes 15 ms, so that the five
# fits of a probe of 576 features take 130 ms in it and 32 without it; with eight times as many features, as long.
WIDE = 8


def as_features(features: ArrayLike, n: int) -> Floats:
    """The features as a float64 array (N, D).

    Raises:
        ValueError: not two-dimensional, empty, not finite, or other than `n` rows.
    """
    array = np.asarray(features, dtype=np.float64)
    if np.ma.is_masked(features):  # `asarray` gives what lies behind the mask
        array = np.where(np.ma.getmaskarray(cast(Any, features)), np.nan, array)
    if array.ndim != 2 or len(array) != n or not array.shape[1]:
        raise ValueError(
            f"features has shape {array.shape}: give (N, D) with a row for each of the {n} labels"
        )
    if not np.isfinite(array).all():
        raise ValueError(
            f"features holds a number that is not finite in row {int(np.argmin(np.isfinite(array).all(1)))}"
        )
    return array


def standardise(train: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Both sides with the mean and deviation of the training side; features constant there become 0."""
    mean, deviation = train.mean(0), train.std(0)
    scale = np.where(deviation > 1e-6 * np.abs(mean), deviation, np.inf)
    return (train - mean) / scale, (test - mean) / scale


def in_span(train: Floats, test: Floats, wide: int = WIDE) -> tuple[Floats, Floats]:
    """Rotate more features than `wide` a row into the span of the training rows: dot products and L2 fits stay."""
    if train.shape[1] <= wide * len(train) or not train.any():
        return train, test
    squares, axes = np.linalg.eigh(train @ train.T)
    keep = squares > 1e-10 * squares[-1]
    lengths = np.sqrt(squares[keep])
    return axes[:, keep] * lengths, (test @ train.T) @ (axes[:, keep] / lengths)


def hat(seen: Floats, unseen: Floats, penalty: float) -> Floats:
    """The matrix (tests, trainings) that takes targets less their mean to a ridge's predictions less it.

    `seen` has columns of mean 0, so its rows sum to 0. The system solved is that of the rows or of the columns,
    whichever are fewer.
    """
    scale = float((seen**2).sum()) / len(seen)
    if scale == 0:  # constant features, as the embedding of a shared last token: only the mean is known
        return np.zeros((len(unseen), len(seen)))
    if seen.shape[1] < len(seen):
        return solve_shifted(seen.T @ seen, penalty * scale, unseen.T).T @ seen.T
    return solve_shifted(seen @ seen.T, penalty * scale, seen @ unseen.T).T


def solve_shifted(square: Floats, shift: float, right: Floats) -> Floats:
    """`(square + shift * I)^-1 right`, of a symmetric matrix without negative eigenvalues."""
    from scipy.linalg.lapack import dposv

    system = square.copy()
    system.flat[:: len(system) + 1] += shift
    _, solved, failed = dposv(system.T, right, overwrite_a=True)
    if failed:
        raise np.linalg.LinAlgError(
            f"a penalty of {shift:g} is lost next to features of this size: rescale them"
        )
    return np.asarray(solved)


def ridge_paths(
    features: Floats, targets: Floats, folds: Folds, penalties: Sequence[float]
) -> Iterator[Floats]:
    """What ridges fitted on some rows predict of others, at each penalty, fold by fold.

    The system solved is that of the rows or of the columns, whichever are fewer.

    Args:
        features: (N, D).
        targets: (N, K) numbers, or indicators of classes.
        folds: pairs of row numbers, to fit on and to predict.
        penalties: as they are added to the dot products.

    Yields:
        (penalties, tests, K) predictions, less the mean of the training side.
    """
    gram = features @ features.T if features.shape[1] >= len(features) else None
    for train, test in folds:
        away = targets[train] - targets[train].mean(0)
        if gram is None:
            means = features[train].mean(0)
            seen, cross = features[train] - means, features[test] - means
            square, right = seen.T @ seen, seen.T @ away
        else:
            square, cross, right = *_centred(gram, train, test), away
        yield np.stack([cross @ solve_shifted(square, penalty, right) for penalty in penalties])


def _centred(gram: Floats, train: Ints, test: Ints) -> tuple[Floats, Floats]:
    """Dot products of the training rows with themselves and of the tests with them, less the training rows' mean."""
    square, cross = gram[np.ix_(train, train)], gram[np.ix_(test, train)]
    means = square.mean(0)
    overall = means.mean()
    return square - means - means[:, None] + overall, cross - cross.mean(1)[:, None] - means + overall


def choose_penalty(features: Floats, targets: Floats, groups: NDArray[Any], seed: int) -> float:
    """The ridge penalty with the least squared error on held-out groups of the training side."""
    scale = float((features**2).sum()) / len(features)
    if scale == 0 or len(np.unique(groups)) < 2:
        return USUAL_PENALTY
    errors = np.zeros(len(PENALTIES))
    folds = grouped_folds(targets, groups, 3, seed, "regression")
    paths = ridge_paths(features, targets[:, None], folds, [penalty * scale for penalty in PENALTIES])
    for (a, b), guesses in zip(folds, paths, strict=True):
        errors += ((targets[b] - targets[a].mean() - guesses[:, :, 0]) ** 2).sum(1)
    return PENALTIES[int(errors.argmin())]
