"""Which single neurons separate labels? A search among thousands always finds some, so chance searches as well.

Each neuron's separation is compared with the largest of all neurons and layers under shuffled labels (max statistic,
Westfall & Young 1993). And the search is held out: the neuron that separates best among some groups of prompts names
the label of others, compared with the same search among the neurons of untrained and lesioned models and
among the counts of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.controls import bag_of_tokens, majority_predictions
from lazarus_probe.statistics.folds import encode, grouped_folds, groups_per_class
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.permutation import group_permutations
from lazarus_probe.statistics.probes.held_out import HeldOut, control_gains, interval_of
from lazarus_probe.subject.batches import encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

DRAWS = 1000
# Numbers held at once while shuffles are scored.
BLOCK = 4_000_000
# The least spread within labels, as a share of that of all prompts: what repeats exactly separates by no more.
FLOOR = 1e-3
Floats = NDArray[np.float64]
ByLayer = Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Separation:
    """How far apart the neurons hold the labels, and what chance and other features do.

    Attributes:
        values: by layer, (D,) the largest difference of two labels' means in pooled standard deviations.
        p: by layer, (D,) corrected for all neurons and layers searched.
        null: (draws,) the largest separation under shuffled labels.
        searched: how many neurons and layers there were to choose from.
        least_p: what p cannot fall below with so few prompts.
        measurement: of the best neuron, chosen on some groups and tested on others; None with labels of one group.
    """

    values: Mapping[int, Floats]
    p: Mapping[int, Floats]
    null: Floats
    searched: int
    least_p: float
    measurement: Measurement | None

    def top(self, count: int) -> list[int]:
        """The neurons of the largest separation at any layer."""
        best = np.max(list(self.values.values()), axis=0)
        return [int(neuron) for neuron in np.argsort(-best, kind="stable")[:count]]

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "searched": self.searched,
            "draws": len(self.null),
            "mean_max_separation": float(self.null.mean()),
            "upper_95": float(np.quantile(self.null, 0.95)),
            "least_p": self.least_p,
            "held_out": None if self.measurement is None else self.measurement.as_dict(),
        }


def separating(
    subject: Subject,
    prompts: Sequence[str],
    labels: Sequence[str],
    activations: ByLayer,
    models: Mapping[str, Sequence[ByLayer]],
    seed: int = 0,
    only: Sequence[int] | None = None,
    groups: Sequence[str] | None = None,
) -> Separation:
    """Score every neuron by how well it separates labels of prompts, with its controls.

    Without groups, only prompts of the same text are kept together.

    Args:
        subject: the model, for its tokens.
        prompts: N texts.
        labels: (N,) their classes.
        activations: by layer, (N, D).
        models: by kind of control model, the same of at least three of them.
        seed: of shuffles, folds and intervals.
        only: the neurons that were chosen beforehand; without it all are searched, by chance as well.
        groups: (N,) what splits and shuffles keep together.

    Raises:
        ValueError: as `check_labels` and `one_more`.
    """
    check_labels(prompts, labels, groups)
    names, units = np.asarray(labels), np.asarray(prompts if groups is None else groups)
    codes = encode(names)[1]
    neurons = _stacked(activations, only)
    of_models = {name: [_stacked(each, only) for each in several] for name, several in models.items()}
    null = null_separations(neurons, codes, units, seed)
    best = max_statistic(separation(neurons, codes).max(keepdims=True), null)[0]
    values = {layer: separation(each, codes) for layer, each in activations.items()}
    bag = bag_of_tokens(encode_all(subject, prompts))
    return Separation(
        values=values,
        p={layer: max_statistic(each, null) for layer, each in values.items()},
        null=null,
        searched=neurons.shape[1],
        least_p=least_p(codes),
        measurement=_held_out(neurons, {"bag_of_tokens": bag}, of_models, names, units, float(best), seed),
    )


def check_labels(prompts: Sequence[str], labels: Sequence[str], groups: Sequence[str] | None = None) -> None:
    """Refuse labels that separate nothing.

    Raises:
        ValueError: another number of labels or groups than prompts, one label only, or one group.
    """
    for name, values in (("labels", labels), ("groups", prompts if groups is None else groups)):
        if len(values) != len(prompts):
            raise ValueError(
                f"{len(values)} {name} given for {len(prompts)} prompts; give one for each, in order"
            )
    if len(set(labels)) < 2:
        raise ValueError(f"all labels are {labels[0]!r}; give at least two to tell apart")
    if len(set(prompts if groups is None else groups)) < 2:
        raise ValueError("all prompts are of one text or group; give at least two to tell apart")


def separation(values: ArrayLike, codes: NDArray[np.intp]) -> Floats:
    """(D,) the largest difference of two classes' means, in standard deviations pooled over those two.

    Classes of one row have no spread of their own: two of them are held against that of all rows.

    Args:
        values: (N, D).
        codes: (N,) classes from 0.
    """
    return _separations(np.asarray(values, dtype=np.float64), codes[None])[0]


def null_separations(values: Floats, codes: NDArray[np.intp], groups: NDArray[Any], seed: int) -> Floats:
    """(draws,) the largest separation of all D columns of (N, D), under labels shuffled between groups.

    Raises:
        ValueError: fewer than two groups.
    """
    shuffled = group_permutations(codes, groups, np.random.default_rng(seed), DRAWS)
    classes = int(codes.max()) + 1
    blocks = np.array_split(shuffled, 1 + DRAWS * classes * values.shape[1] // BLOCK)
    return np.concatenate([_separations(values, block).max(axis=1) for block in blocks])


def max_statistic(values: Floats, null: Floats) -> Floats:
    """(D,) how often the largest of a shuffle is at least each value."""
    ordered = np.sort(null)
    above = len(null) - np.searchsorted(ordered, values * (1 - 1e-9))
    return np.asarray((1 + above) / (len(null) + 1))


def least_p(codes: NDArray[np.intp]) -> float:
    """What p cannot fall below: so many arrangements of the labels give the same result."""
    sizes = np.bincount(codes)
    same = prod(factorial(int(count)) for count in np.bincount(sizes))
    arrangements = factorial(len(codes)) // prod(factorial(int(size)) for size in sizes)
    return max(same / arrangements, 1 / (DRAWS + 1))


def best_neuron(features: Floats, labels: NDArray[Any], groups: NDArray[Any], seed: int) -> HeldOut:
    """The label of held-out rows by the column that separates best among the others: the class of the nearest mean.

    Raises:
        ValueError: as `grouped_folds`.
    """
    classes, codes = encode(labels)
    predictions = np.empty_like(labels)
    for train, test in grouped_folds(labels, groups, seed=seed):
        column = int(separation(features[train], codes[train]).argmax())
        seen = features[train, column]
        means = np.array([seen[codes[train] == number].mean() for number in range(len(classes))])
        predictions[test] = classes[np.abs(features[test, column, None] - means).argmin(axis=1)]
    return HeldOut.of_classes(predictions, labels)


def _held_out(
    neurons: Floats,
    others: Mapping[str, Floats],
    models: Mapping[str, Sequence[Floats]],
    labels: NDArray[Any],
    groups: NDArray[Any],
    p: float,
    seed: int,
) -> Measurement | None:
    """The search as a whole with its controls; None where a class has no second group to be tested on."""
    if groups_per_class(encode(labels)[1], encode(groups)[1]).min() < 2:
        return None
    score = best_neuron(neurons, labels, groups, seed)
    controls = {"majority": HeldOut.of_classes(majority_predictions(labels), labels)}
    controls |= {name: best_neuron(each, labels, groups, seed) for name, each in others.items()}
    of_models = {
        name: [best_neuron(each, labels, groups, seed) for each in several]
        for name, several in models.items()
    }
    interval = interval_of(score, groups, "classification", seed)
    return Measurement(
        score=score.score,
        low=interval.low,
        high=interval.high,
        n=len(labels),
        groups=len(np.unique(groups)),
        unit="held-out accuracy of the best neuron",
        controls=control_gains(score, controls, of_models, groups, "classification", seed),
        p=p,
        seed=seed,
    )


def _stacked(layers: ByLayer, only: Sequence[int] | None) -> Floats:
    """(N, layers * D) the neurons searched, of all layers."""
    stacked = [each if only is None else each[:, list(only)] for each in layers.values()]
    return np.concatenate(stacked, axis=1).astype(np.float64)


def _separations(values: Floats, codes: NDArray[np.intp]) -> Floats:
    """(S, D) for each row of classes (S, N)."""
    spread = values.std(axis=0)
    values = values - values.mean(axis=0)
    of_class = (codes[:, None, :] == np.arange(codes.max() + 1)[:, None]).astype(np.float64)
    counts = of_class.sum(axis=2)[:, :, None]
    means = of_class @ values / counts
    squares = np.maximum(of_class @ values**2 - counts * means**2, 0)
    best = np.zeros((len(codes), values.shape[1]))
    for i, j in combinations(range(means.shape[1]), 2):
        freedom = counts[:, i] + counts[:, j] - 2
        pooled = np.sqrt((squares[:, i] + squares[:, j]) / np.maximum(freedom, 1))
        scale = np.where(freedom > 0, np.maximum(pooled, FLOOR * spread), spread)
        gap = np.abs(means[:, i] - means[:, j])
        # A column without spread is rounding: it separates nothing.
        np.maximum(best, np.divide(gap, scale, out=np.zeros_like(gap), where=spread > 1e-9), out=best)
    return best
