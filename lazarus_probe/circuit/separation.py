"""Three ways to a direction between two labels, and what each is worth on groups that had no part in it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics import group_permutations, grouped_folds
from lazarus_probe.statistics.folds import Folds
from lazarus_probe.statistics.probes.linear import in_span, solve_shifted
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH

METHODS = ("diff_means", "lda", "probe_weights")
FOLDS = 5
# How far the covariance of LDA is shrunk to a multiple of the identity.
SHRINKAGE = 0.1
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scored:
    """A direction (D,), its held-out hits (N,) and separation, and the accuracies of shuffled labels (draws,)."""

    vector: Floats
    hits: Floats
    separation: float
    null: Floats


def score(
    features: NDArray[Any],
    positive: NDArray[np.bool_],
    groups: NDArray[Any],
    method: str,
    draws: int,
    seed: int,
) -> Scored:
    """The direction of features (N, D), and what it is worth held out and with shuffled labels."""
    rows, scale = _scaled(np.asarray(features, dtype=np.float64), method)
    folds, narrow = _prepared(rows, positive, groups, seed)
    hits, separation = _held_out(narrow, positive, folds, method)
    rng = np.random.default_rng(seed)
    shuffled = group_permutations(positive, groups, rng, draws, keep_blocks=True)
    null = [(_held_out(narrow, each, folds, method)[0] * balance(each)).mean() for each in shuffled]
    vector = direction_of(rows, positive, method) / scale
    return Scored(vector if method == "diff_means" else _unit(vector), hits, separation, np.array(null))


def held_out_hits(
    features: Floats, positive: NDArray[np.bool_], groups: NDArray[Any], method: str, seed: int
) -> Floats:
    """(N,) held-out hits of a direction of features (N, any)."""
    folds, narrow = _prepared(_scaled(features, method)[0], positive, groups, seed)
    return _held_out(narrow, positive, folds, method)[0]


def _prepared(
    rows: Floats, positive: NDArray[np.bool_], groups: NDArray[Any], seed: int
) -> tuple[Folds, Floats]:
    # Not stratified: folds that are balanced for the true labels and not for shuffled ones would favour the true ones.
    folds = grouped_folds(positive, groups, FOLDS, seed, "regression")
    # In the span of all rows, where any of these directions lies, and which is as narrow as there are rows.
    return folds, in_span(rows, rows)[0]


def _scaled(rows: Floats, method: str) -> tuple[Floats, Floats]:
    """Rows less their mean, for a logistic regression over their deviation too; and what each was divided by (D,)."""
    centred, deviation = rows - rows.mean(0), rows.std(0)
    if not deviation.any():
        raise ValueError(f"the activations of all {len(rows)} prompts are the same: they have no direction")
    if method != "probe_weights":
        return centred, np.ones(rows.shape[1])
    scale = np.where(deviation > 1e-6 * np.abs(rows.mean(0)), deviation, np.inf)
    return centred / scale, scale


def _held_out(rows: Floats, positive: NDArray[np.bool_], folds: Folds, method: str) -> tuple[Floats, float]:
    """Held-out hits (N,), and the separation averaged over the folds that have both labels."""
    hits, separations = np.zeros(len(rows)), []
    for train, test in folds:
        if positive[train].all() or not positive[train].any():
            hits[test] = positive[test] == positive[train][0]
            continue
        vector = direction_of(rows[train], positive[train], method)
        along, known = rows[test] @ vector, rows[train] @ vector
        middle = (known[positive[train]].mean() + known[~positive[train]].mean()) / 2
        hits[test] = (along > middle) == positive[test]
        if 2 <= positive[test].sum() <= len(test) - 2:
            separations.append(separation_of(along, positive[test]))
    return hits, float(np.mean(separations)) if separations else 0.0


def separation_of(along: Floats, positive: NDArray[np.bool_]) -> float:
    """The distance of the two means in pooled deviations (Cohen's d), positive where they stand the right way round."""
    one, other = along[positive], along[~positive]
    pooled = np.sqrt((one.var() + other.var()) / 2)
    return float((one.mean() - other.mean()) / pooled) if pooled > 0 else 0.0


def direction_of(rows: Floats, positive: NDArray[np.bool_], method: str) -> Floats:
    """(D,) the direction of centred activations (N, D), standardised for `probe_weights`, to the positive ones."""
    ways: dict[str, Callable[[Floats, NDArray[np.bool_]], Floats]] = {
        "diff_means": _difference,
        "lda": _discriminant,
        "probe_weights": _weights,
    }
    return ways[method](rows, positive)


def _difference(rows: Floats, positive: NDArray[np.bool_]) -> Floats:
    return np.asarray(rows[positive].mean(0) - rows[~positive].mean(0))


def _discriminant(rows: Floats, positive: NDArray[np.bool_]) -> Floats:
    """Fisher's discriminant with the covariance within labels shrunk to a multiple of the identity."""
    within = np.where(positive[:, None], rows - rows[positive].mean(0), rows - rows[~positive].mean(0))
    covariance = within.T @ within / len(rows)
    level = float(np.trace(covariance)) / min(rows.shape)
    if level == 0:
        return _difference(rows, positive)
    square = (1 - SHRINKAGE) * covariance
    return solve_shifted(square, SHRINKAGE * level, _difference(rows, positive)[:, None])[:, 0]


def _weights(rows: Floats, positive: NDArray[np.bool_]) -> Floats:
    """The weights of a logistic regression."""
    return fit_logistic(rows - rows.mean(0), positive.astype(np.intp), USUAL_STRENGTH).weights[:, 0]


def _unit(vector: Floats) -> Floats:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12))


def balance(positive: NDArray[np.bool_]) -> Floats:
    """(N,) what each prompt counts, so that either label counts one half."""
    return np.where(positive, 0.5 / positive.mean(), 0.5 / (1 - positive.mean()))
