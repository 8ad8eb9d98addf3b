"""Which single neurons separate labels? A search among thousands always finds some, so the null searches as well.

Each neuron's separation is compared with the largest of all neurons and layers under shuffled labels (max statistic,
Westfall & Young 1993). And the search is tested on held-out groups: the neuron that separates the training groups best
predicts their labels, compared with the same search over untrained and lesioned models and over token counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import factorial, prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.introspection.probing.leaks import across, default_units
from lazarus_probe.statistics.controls import bag_of_tokens, majority_predictions
from lazarus_probe.statistics.folds import encode, grouped_folds, groups_per_class
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.permutation import group_permutations, largest_statistic_p, permutation_p
from lazarus_probe.statistics.probes.held_out import HeldOut, control_gains, interval_of
from lazarus_probe.subject.batches import encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

DRAWS = 1000
# Numbers in memory at once while shuffles are scored.
BLOCK = 4_000_000
# The least spread within labels, as a share of that of all prompts: it bounds the separation of exact repeats.
FLOOR = 1e-3
Floats = NDArray[np.float64]
ByLayer = Mapping[int, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Separation:
    """How well neurons separate labels, with the null and the held-out test.

    Attributes:
        values: (D,) largest difference of two labels' means in pooled standard deviations, by layer.
        p: (D,) corrected for all neurons and layers searched, by layer.
        null: (draws,) the largest separation under shuffled labels.
        searched: number of neurons searched, over all layers.
        least_p: the smallest p that so few prompts can give.
        measurement: of the best neuron on held-out groups; None if a label has a single group.
        matched: how many prompts were kept together with one of another label, for they differ in few words.
    """

    values: Mapping[int, Floats]
    p: Mapping[int, Floats]
    null: Floats
    searched: int
    least_p: float
    measurement: Measurement | None
    matched: int = 0

    def top(self, count: int) -> list[int]:
        """The neurons with the largest separation at any layer."""
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
            "matched_prompts": self.matched,
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

    Args:
        subject: the model, for its tokens.
        prompts: N texts.
        labels: (N,) their classes.
        activations: (N, D) by layer.
        models: the same of at least three control models, by kind.
        seed: of shuffles, folds and intervals.
        only: neurons chosen beforehand; by default all are searched, in the null as well.
        groups: (N,) what splits and shuffles keep together; by default prompts of the same words, and those that are
            matched across labels.

    Raises:
        ValueError: as `check_labels` and `one_more`.
    """
    check_labels(prompts, labels, groups)
    names, units = np.asarray(labels), np.asarray(groups if groups is not None else _units(prompts, labels))
    codes = encode(names)[1]
    neurons = _stacked(activations, only)
    of_models = {kind: [_stacked(model, only) for model in of_kind] for kind, of_kind in models.items()}
    null = null_separations(neurons, codes, units, seed)
    best = permutation_p(separation(neurons, codes).max(), null)
    values = {layer: separation(at_layer, codes) for layer, at_layer in activations.items()}
    bag = bag_of_tokens(encode_all(subject, prompts))
    return Separation(
        values=values,
        p={layer: largest_statistic_p(at_layer, null) for layer, at_layer in values.items()},
        null=null,
        searched=neurons.shape[1],
        least_p=least_p(codes),
        measurement=_held_out(neurons, bag, of_models, names, units, best, seed),
        matched=across(units, names) if groups is None else 0,
    )


def _units(prompts: Sequence[str], labels: Sequence[str]) -> Sequence[str]:
    """(N,) what is kept together without groups; prompts of the same text, where all have the same words."""
    units = default_units(prompts, labels)
    return units if len(set(units)) > 1 else prompts


def check_labels(prompts: Sequence[str], labels: Sequence[str], groups: Sequence[str] | None = None) -> None:
    """Refuse labels that cannot be separated.

    Raises:
        ValueError: not one label and group per prompt, or fewer than two labels or groups.
    """
    for name, values in (("labels", labels), ("groups", prompts if groups is None else groups)):
        if len(values) != len(prompts):
            raise ValueError(
                f"{len(values)} {name} given for {len(prompts)} prompts; give one for each, in order"
            )
    if len(set(labels)) < 2:
        raise ValueError(f"all labels are {labels[0]!r}; give at least two")
    if len(set(prompts if groups is None else groups)) < 2:
        raise ValueError("all prompts are of one text or group; give at least two")


def separation(values: ArrayLike, codes: NDArray[np.intp]) -> Floats:
    """(D,) the largest difference of two classes' means, in standard deviations pooled over those two.

    Classes of one row have no spread: two of them are scaled by that of all rows.

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


def least_p(codes: NDArray[np.intp]) -> float:
    """The smallest p that shuffles of these labels can give, as some arrangements give the same result."""
    sizes = np.bincount(codes)
    same = prod(factorial(int(count)) for count in np.bincount(sizes))
    arrangements = factorial(len(codes)) // prod(factorial(int(size)) for size in sizes)
    return max(same / arrangements, 1 / (DRAWS + 1))


def best_neuron(features: Floats, labels: NDArray[Any], groups: NDArray[Any], seed: int) -> HeldOut:
    """Predict held-out labels by the nearest class mean in the column that separates the training rows best.

    Raises:
        ValueError: as `grouped_folds`.
    """
    classes, codes = encode(labels)
    predictions = np.empty_like(labels)
    for train, test in grouped_folds(labels, groups, seed=seed):
        column = int(separation(features[train], codes[train]).argmax())
        training = features[train, column]
        means = np.array([training[codes[train] == code].mean() for code in range(len(classes))])
        predictions[test] = classes[np.abs(features[test, column, None] - means).argmin(axis=1)]
    return HeldOut.of_classes(predictions, labels)


def _held_out(
    neurons: Floats,
    bag: Floats,
    models: Mapping[str, Sequence[Floats]],
    labels: NDArray[Any],
    groups: NDArray[Any],
    p: float,
    seed: int,
) -> Measurement | None:
    """The search on held-out groups with its controls; None where a class has a single group."""
    if groups_per_class(encode(labels)[1], encode(groups)[1]).min() < 2:
        return None
    score = best_neuron(neurons, labels, groups, seed)
    controls = {
        "majority": HeldOut.of_classes(majority_predictions(labels), labels),
        "bag_of_tokens": best_neuron(bag, labels, groups, seed),
    }
    of_models = {
        kind: [best_neuron(model, labels, groups, seed) for model in of_kind]
        for kind, of_kind in models.items()
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
    stacked = [at_layer if only is None else at_layer[:, list(only)] for at_layer in layers.values()]
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
