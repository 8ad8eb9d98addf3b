"""Probes at every layer, and what the best of them is worth.

The best of many layers looks better than it is. So the score of the chosen layer is of nested cross-validation: in each
fold the layer is chosen by cross-validated ridges within the training side, and so is that of each control model.
Chance is the best of all layers under shuffled labels (max statistic, Westfall & Young 1993).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.probing.inputs import ProbeDataset, Readings
from lazarus_probe.introspection.probing.probe import model_scores, rivals
from lazarus_probe.statistics import Kind, fewest_units, grouped_folds, max_statistic_p
from lazarus_probe.statistics.folds import encode, groups_per_class
from lazarus_probe.statistics.measurement import Control, Measurement, some_examples
from lazarus_probe.statistics.probes.held_out import (
    LEVEL,
    HeldOut,
    gain_over,
    held_out,
    interval_of,
    mean_of,
    null_of,
    over_models,
)
from lazarus_probe.statistics.probes.linear import USUAL_PENALTY, hat, standardise
from lazarus_probe.statistics.probes.logistic import indicate
from lazarus_probe.subject.relative_depth import EMBED

# Groups that each class needs, for the layer to be chosen on some of the training side and tested on the rest.
TO_CHOOSE = 3
# Folds within a training side.
INNER = 3
KIND: Kind = "classification"


@dataclass(frozen=True)
class LayerScore:
    """The probe at one place.

    Attributes:
        layer: -1 is the token embedding.
        accuracy: on held-out groups.
        std: of the folds' accuracies.
        low: lower end of the accuracy's interval.
        high: upper end.
        untrained: the mean accuracy in untrained models.
        p: under shuffled labels, corrected for all layers searched; None at the embedding, which is not searched.
    """

    layer: int
    accuracy: float
    std: float
    low: float
    high: float
    untrained: float
    p: float | None

    @property
    def name(self) -> str:
        """As it is called in tables."""
        return "embed" if self.layer == EMBED else f"L{self.layer}"


@dataclass(frozen=True)
class Scan:
    """Probes of the model and of its control models at every place.

    Attributes:
        places: by layer, with the embedding as -1, what a probe is given there.
        searched: the layers to choose from; a single one was given.
        seed: of folds, shuffles and intervals.
        ours: by layer, what the probe says of held-out prompts.
        models: by kind of control model and by layer, the same in each model of it.
        null: (draws, searched) the scores of shuffled labels.
        observed: (searched,) those of the true labels, under the same probe.
    """

    places: Mapping[int, Readings]
    searched: Sequence[int]
    seed: int
    ours: Mapping[int, HeldOut]
    models: Mapping[str, Mapping[int, Sequence[HeldOut]]]
    null: NDArray[np.float64]
    observed: NDArray[np.float64]

    @classmethod
    def of(cls, places: Mapping[int, Readings], searched: Sequence[int], seed: int) -> Scan:
        """Fit all probes."""
        ours = {k: held_out(each.problem(each.features, KIND, seed)) for k, each in places.items()}
        by_place = {k: model_scores(each, KIND, seed) for k, each in places.items()}
        models = {
            name: {k: each[name] for k, each in by_place.items() if name in each}
            for name in by_place[searched[0]]
        }
        tests = [null_of(places[k].problem(places[k].features, KIND, seed)) for k in searched]
        null, observed = np.stack([each.null for each in tests], axis=1), [each.observed for each in tests]
        return cls(places, searched, seed, ours, models, null, np.array(observed))

    @property
    def labelled(self) -> ProbeDataset:
        """The prompts, the same at all places."""
        return self.places[EMBED].labelled

    def score_of(self, place: int) -> LayerScore:
        """The probe at one place."""
        score = self.ours[place]
        folds = grouped_folds(self.labelled.labels, self.labelled.groups, seed=self.seed)
        interval = interval_of(score, self.labelled.units, KIND, self.seed)
        p = max_statistic_p(self.observed, self.null)
        return LayerScore(
            layer=place,
            accuracy=score.score,
            std=float(np.std([score.take(test).score for _, test in folds])),
            low=interval.low,
            high=interval.high,
            untrained=mean_of(self.models["untrained"][place]).score,
            p=float(p[list(self.searched).index(place)]) if place in self.searched else None,
        )

    def measured(self) -> tuple[int, str, Measurement]:
        """The best layer, how it was chosen, and what the choice is worth."""
        best = max(self.searched, key=lambda layer: self.ours[layer].score)
        codes, index = encode(self.labelled.labels)[1], encode(self.labelled.groups)[1]
        if len(self.searched) == 1:
            return (
                best,
                "given",
                self._measurement(best, self.ours[best], self._each_model(lambda of: of[best])),
            )
        if groups_per_class(codes, index).min() < TO_CHOOSE:
            highest = self._each_model(lambda of: max(of.values(), key=lambda each: each.score))
            return best, "in search", self._measurement(best, self.ours[best], highest)
        ours = self._nested({k: self.places[k].features for k in self.searched}, self.ours)
        models = {
            name: [
                self._nested(
                    {k: self.places[k].models[name][number] for k in self.searched},
                    {k: by_layer[k][number] for k in self.searched},
                )
                for number in range(len(by_layer[best]))
            ]
            for name, by_layer in self.models.items()
        }
        return best, "nested", self._measurement(best, ours, models)

    def _each_model(self, choose: Callable[[Mapping[int, HeldOut]], HeldOut]) -> dict[str, list[HeldOut]]:
        """Of each control model, one of its scores at the layers searched."""
        return {
            name: [
                choose({k: by_layer[k][number] for k in self.searched})
                for number in range(len(by_layer[self.searched[0]]))
            ]
            for name, by_layer in self.models.items()
        }

    def _nested(self, features: Mapping[int, NDArray[Any]], scores: Mapping[int, HeldOut]) -> HeldOut:
        """In each fold, the predictions of the layer that does best within the training side."""
        labels, groups = self.labelled.labels, self.labelled.groups
        predictions = np.empty_like(labels)
        for train, test in grouped_folds(labels, groups, seed=self.seed):
            within = {
                layer: quick_accuracy(each[train], labels[train], groups[train], self.seed)
                for layer, each in features.items()
            }
            chosen = max(within, key=lambda layer: within[layer])
            predictions[test] = scores[chosen].predictions[test]
        right = (predictions == labels).astype(np.float64)
        return HeldOut(predictions, right, np.ones(len(right)))

    def _measurement(self, best: int, ours: HeldOut, models: Mapping[str, Sequence[HeldOut]]) -> Measurement:
        readings, units = self.places[best], self.labelled.units
        interval = interval_of(ours, units, KIND, self.seed)
        shuffled, p = self._shuffled()
        others = rivals(readings, KIND, self.seed)
        return Measurement(
            score=ours.score,
            low=interval.low,
            high=interval.high,
            n=len(ours.hits),
            groups=fewest_units(units),
            unit="held-out accuracy",
            controls=(
                *(gain_over(name, ours, each, units, KIND, self.seed) for name, each in others.items()),
                *(over_models(name, ours, each, units, KIND, self.seed) for name, each in models.items()),
                shuffled,
            ),
            p=p,
            seed=self.seed,
            details={
                "layer": best,
                "searched": list(self.searched),
                "permutations": len(self.null),
                "models": {name: [each.score for each in scores] for name, scores in models.items()},
            },
            tokens=sum(map(len, readings.tokens)),
            examples=some_examples(
                readings.texts, self.labelled.labels.tolist(), ours.predictions.tolist(), ours.hits > 0
            ),
        )

    def _shuffled(self) -> tuple[Control, float]:
        """The best layer on shuffled labels, under the permutation test's own ridge probe."""
        observed, null = float(self.observed.max()), self.null.max(axis=1)
        mean = float(null.mean())
        low, high = np.quantile(null, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        low, high = min(float(low), mean), max(float(high), mean)
        control = Control("shuffled_labels", mean, observed - mean, observed - high, observed - low)
        return control, float(max_statistic_p([observed], null[:, None])[0])


def quick_accuracy(features: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any], seed: int) -> float:
    """The held-out accuracy of a ridge on the classes' indicators: many layers are ranked in the time of one fit.

    Raises:
        ValueError: as `grouped_folds`.
    """
    codes, features = encode(labels)[1], features.astype(np.float64)
    right = 0
    for train, test in grouped_folds(labels, groups, INNER, seed):
        seen, unseen = standardise(features[train], features[test])
        above_share = hat(seen, unseen, USUAL_PENALTY) @ indicate(codes[train])
        right += int((above_share.argmax(axis=1) == codes[test]).sum())
    return right / len(codes)
