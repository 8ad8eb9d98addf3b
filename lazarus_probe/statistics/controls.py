"""What a score must beat: predictions and labels that know nothing of the model, and the gain over a control."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.bounded import Units
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.clusters import Floats, as_values
from lazarus_probe.statistics.folds import encode, grouped_folds
from lazarus_probe.statistics.measurement import Control
from lazarus_probe.statistics.rows import numbers, present, present_units


def majority_predictions(labels: ArrayLike) -> NDArray[Any]:
    """The best constant answer, for every row: (N,) copies of the majority class.

    It is counted on all rows. Counted on training sides alone it would be handicapped: where a held-out group
    takes its class out of a balanced set, the majority class left is a wrong one, and the control scores 0.

    Raises:
        ValueError: no labels.
    """
    labels = present(labels, "labels")
    if labels.ndim != 1 or not len(labels):
        raise ValueError(f"labels has shape {labels.shape}: give one label for each row, at least one")
    classes, codes = encode(labels)
    return np.full(labels.shape, classes[np.bincount(codes).argmax()])


def mean_predictions(targets: ArrayLike, groups: ArrayLike | None, k: int = 5, seed: int = 0) -> Floats:
    """The mean of the training side for each row's fold, over the folds of `out_of_fold_regression`: (N,).

    Raises:
        ValueError: as `grouped_folds`.
    """
    targets = as_values(targets, "targets")
    predictions = np.empty(len(targets))
    for train, test in grouped_folds(targets, groups, k, seed, "regression"):
        predictions[test] = targets[train].mean()
    return predictions


def bag_of_tokens(token_ids: Sequence[Sequence[int]]) -> Floats:
    """How often each token occurs in each prompt: what a probe could know without a model.

    Args:
        token_ids: N prompts, of any length.

    Returns:
        (N, V') counts, a column for each of the V' tokens that occur, in order of their ids.

    Raises:
        ValueError: no prompts, or prompts without a token between them.
    """
    rows = np.repeat(np.arange(len(token_ids)), [len(ids) for ids in token_ids])
    if not len(rows):
        raise ValueError("token_ids holds no token: give the token ids of each prompt")
    vocabulary, columns = np.unique(
        np.concatenate([np.asarray(ids, dtype=np.int64) for ids in token_ids]), return_inverse=True
    )
    counts = np.zeros((len(token_ids), len(vocabulary)))
    np.add.at(counts, (rows, columns), 1)
    return counts


def paired_control(
    name: str,
    score: ArrayLike,
    other: ArrayLike,
    clusters: Units,
    seed: int = 0,
    *,
    positive: bool = False,
    bound: float = 1.0,
) -> Control:
    """What a control reaches on the very rows of a score, and the score's gain over it with its interval.

    Args:
        name: of the control.
        score: (N,) whether each row counts for the claim.
        other: (N,) whether it does under the control.
        clusters: (N,) the independent unit of each row, or several kinds of them by name.
        seed: of the interval.
        positive: whether it is the positive control of an absence; the gain is then the control's over the score.
        bound: how far a score and its control may differ.

    Raises:
        ValueError: as `paired_interval`; a row that is missing or not finite, or another number of rows.
    """
    reached, values = numbers(other, f"control {name!r}"), numbers(score, "score")
    if reached.shape != values.shape:
        raise ValueError(
            f"control {name!r} has shape {reached.shape} and the score {values.shape}: score both on the same rows"
        )
    gain = values - reached
    gain = -gain if positive else gain
    interval = paired_interval(gain, present_units(clusters, "clusters"), seed=seed, bound=bound)
    return Control(name, float(reached.mean()), float(gain.mean()), interval.low, interval.high)
