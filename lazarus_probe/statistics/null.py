"""The null that a probe is compared with: the same probe on labels shuffled as the groups allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics.clusters import Floats, Ints
from lazarus_probe.statistics.folds import Folds, Kind, check_split, encode, grouped_folds
from lazarus_probe.statistics.permutation import group_permutations, permutation_p
from lazarus_probe.statistics.probes.capped import capped_squares
from lazarus_probe.statistics.probes.linear import USUAL_PENALTY, as_features, hat, standardise
from lazarus_probe.statistics.rows import present

LEVEL = 0.95
# Folds under the permutation null. Many, as unstratified ones may take all groups of a class at once.
NULL_FOLDS = 10
# Labels times draws handled in one matrix product, to bound memory.
BLOCK = 4_000_000


@dataclass(frozen=True)
class PermutationTest:
    """A score compared with the scores of shuffled labels.

    Attributes:
        observed: the score of the true labels.
        null: (draws,) the scores of shuffled ones.
        p: how often chance does at least as well, `(1 + k) / (draws + 1)`.
    """

    observed: float
    null: Floats
    p: float

    @property
    def interval(self) -> tuple[float, float]:
        """What 95% of the shuffles lie in."""
        low, high = np.quantile(self.null, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
        return low, high


def permutation_null(
    features: ArrayLike,
    labels: ArrayLike,
    groups: ArrayLike | None,
    draws: int = 1000,
    seed: int = 0,
    kind: Kind = "classification",
    *,
    keep_blocks: bool = False,
) -> PermutationTest:
    """Score a ridge probe on the true labels and on labels shuffled by `group_permutations`.

    The predictions of a ridge are a fixed matrix times the labels, so it is made once for each fold and all
    shuffles are one matrix product. That holds only if nothing else looks at the labels: the folds are not
    stratified, the penalty is not chosen. (Folds balanced for the true labels and not for the shuffled would
    be an advantage of the true ones.) The score is out-of-fold accuracy, of the class whose indicator is
    predicted highest above its share in training, or capped R2. It is below what a tuned probe reaches, and serves
    for p alone.

    Args:
        features: (N, D) activations or counts.
        labels: (N,) classes or numbers.
        groups: (N,) the group of each row.
        draws: how many shuffles.
        seed: of folds and shuffles; the same seed gives the same shuffles at every layer, as
            `max_statistic_p` needs.
        kind: whether the labels are classes or numbers.
        keep_blocks: as in `group_permutations`.

    Raises:
        ValueError: as `grouped_folds` and `group_permutations`.
    """
    labels = present(labels, "labels")
    features = as_features(features, len(labels))
    check_split(labels, groups, kind)
    folds = grouped_folds(labels, groups, NULL_FOLDS, seed, "regression")
    classes, codes = encode(labels) if kind == "classification" else (None, labels.astype(np.float64))
    rng = np.random.default_rng(seed)
    shuffled = group_permutations(codes, np.asarray(groups), rng, draws, keep_blocks=keep_blocks)
    rows, hats = np.concatenate([codes[None], shuffled]), _hats(features, folds)
    blocks = np.array_split(rows, 1 + rows.size // BLOCK)
    if classes is None:
        scores = np.concatenate([_capped_r2s(block, folds, hats) for block in blocks])
    else:
        scores = np.concatenate([_accuracies(block, len(classes), hats) for block in blocks])
    return PermutationTest(float(scores[0]), scores[1:], permutation_p(float(scores[0]), scores[1:]))


def best_of(tests: Sequence[PermutationTest]) -> PermutationTest:
    """The test of the best of several scores, by the max statistic (Westfall & Young 1993).

    Args:
        tests: of the same shuffles, in which the best is taken as well.
    """
    observed, null = max(test.observed for test in tests), np.stack([test.null for test in tests]).max(axis=0)
    return PermutationTest(observed, null, permutation_p(observed, null))


def _hats(features: Floats, folds: Folds) -> Floats:
    """(N, N) what each row's label adds to the prediction of each other; 0 within a fold."""
    hats = np.zeros((len(features), len(features)))
    for train, test in folds:
        hats[np.ix_(test, train)] = hat(*standardise(features[train], features[test]), USUAL_PENALTY)
    return hats


def _accuracies(codes: Ints, classes: int, hats: Floats) -> Floats:
    """Out-of-fold accuracy of each row of classes (draws, N)."""
    codes, hats = codes.T.astype(np.int16), hats.astype(np.float32)
    best, winner, last = None, np.zeros(codes.shape, dtype=np.int16), np.zeros(codes.shape, dtype=np.float32)
    for number in range(classes):
        # The rows of the hat sum to 0: this predicts each class above its share, and over classes that sums to 0.
        above = hats @ (codes == number).astype(np.float32) if number < classes - 1 else -last
        if best is None:
            best = above.copy()
        else:
            ahead = above > best
            winner[ahead] = number
            np.maximum(best, above, out=best)
        last += above
    return np.asarray((winner == codes).mean(0))


def _capped_r2s(rows: Floats, folds: Folds, hats: Floats) -> Floats:
    """Out-of-fold capped R2 of each row of targets (draws, N), capped at that row's variance."""
    targets, variance = (rows - rows[0].mean()).T, rows.var(axis=1)
    means = np.empty(targets.shape)
    for train, test in folds:
        means[test] = targets[train].mean(0)
    away = targets - means
    lost, of = (capped_squares(errors, variance).sum(0) for errors in (away - hats @ targets, away))
    return np.asarray(1 - lost / of)
