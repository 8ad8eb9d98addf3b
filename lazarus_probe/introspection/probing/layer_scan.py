"""Probes of the same prompts at many layers: scores, permutation tests, and the choice of the best layer.

The score of the best of many layers is too high. So p is that of the best layer under shuffled labels (max statistic,
Westfall & Young 1993), and the score of a chosen layer is from nested cross-validation: in each fold the layer is
chosen by cross-validated ridges on the training side, in each control model as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, ProbeInputs, layer_inputs, site_of
from lazarus_probe.introspection.probing.probe import measure, measurement_of
from lazarus_probe.introspection.probing.probe_scores import (
    compared_with,
    control_scores,
    model_score,
    model_scores,
)
from lazarus_probe.statistics.folds import Kind, encode, grouped_folds, groups_per_class
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.null import PermutationTest, best_of
from lazarus_probe.statistics.permutation import max_statistic_p
from lazarus_probe.statistics.probes.held_out import HeldOut, Problem, held_out, null_of
from lazarus_probe.statistics.probes.linear import USUAL_PENALTY, hat, standardise
from lazarus_probe.statistics.probes.logistic import indicate
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.relative_depth import EMBED

if TYPE_CHECKING:
    from lazarus_probe.subject.control_models import ControlModels
    from lazarus_probe.subject.subject import Subject

# Groups per class, for the layer to be chosen on some of the training side and tested on the rest.
TO_CHOOSE = 3
# Folds within a training side.
INNER = 3


@dataclass(frozen=True)
class Scan:
    """Probes at several layers, fitted lazily and cached by content.

    Attributes:
        inputs: by layer; -1 is the embedding.
        kind: `classification` or `regression`.
        seed: of folds, shuffles and intervals.
        draws: shuffles of the labels; by default as many as for `probe`.
        keep_blocks: how labels are shuffled, as in `group_permutations`.
    """

    inputs: Mapping[int, ProbeInputs]
    kind: Kind = "classification"
    seed: int = 0
    draws: int | None = None
    keep_blocks: bool = False

    @property
    def layers(self) -> list[int]:
        """The layers without the embedding."""
        return [layer for layer in self.inputs if layer != EMBED]

    @property
    def dataset(self) -> ProbeDataset:
        """The prompts, the same at all layers."""
        return next(iter(self.inputs.values())).dataset

    @cached_property
    def problems(self) -> Mapping[int, Problem]:
        """The probe to fit, by layer."""
        return {
            layer: inputs.problem(inputs.features, self.kind, self.seed)
            for layer, inputs in self.inputs.items()
        }

    @cached_property
    def scores(self) -> Mapping[int, HeldOut]:
        """The held-out predictions, by layer."""
        return {layer: held_out(problem) for layer, problem in self.problems.items()}

    def controls(self, layer: int) -> Mapping[str, HeldOut]:
        """The controls that need neither other layers nor other models."""
        return control_scores(self.inputs[layer], self.kind, self.seed)

    def models(self, layer: int) -> Mapping[str, Sequence[HeldOut]]:
        """The probe of the layer in each control model, by kind of model."""
        return model_scores(self.inputs[layer], self.kind, self.seed)

    def each_model(self, layers: Sequence[int]) -> dict[str, list[dict[int, HeldOut]]]:
        """The probes of each control model by layer, by kind of model."""
        by_layer = {layer: self.models(layer) for layer in layers}
        return {
            kind: [{layer: by_layer[layer][kind][i] for layer in layers} for i in range(len(models))]
            for kind, models in by_layer[layers[0]].items()
        }

    def in_model(self, of: str, model: int, layer: int) -> HeldOut:
        """The probe of the layer in one control model of a kind."""
        return model_score(self.inputs[layer], of, model, self.kind, self.seed)

    def null(self, layer: int) -> PermutationTest:
        """The ridge probe of the layer on shuffled labels, the same shuffles at every layer."""
        return null_of(self.problems[layer], self.draws, keep_blocks=self.keep_blocks)

    def p(self, layers: Sequence[int] | None = None) -> dict[int, float]:
        """P by layer, corrected for the layers searched, by default all."""
        layers = self.layers if layers is None else layers
        tests = [self.null(layer) for layer in layers]
        values = max_statistic_p([t.observed for t in tests], np.stack([t.null for t in tests], axis=1))
        return dict(zip(layers, values.tolist(), strict=True))

    def before(self, layer: int) -> int:
        """The layer with the best score before a layer, the embedding included."""
        return max(range(EMBED, layer), key=lambda lower: self.scores[lower].score)

    def measurement(self, layer: int, details: Mapping[str, Any]) -> Measurement:
        """The probe of one layer with all of its controls."""
        return measure(self.inputs[layer], self.kind, self.seed, details)

    def take(self, rows: NDArray[Any]) -> Scan:
        """A subset of the prompts, by row number."""
        return replace(self, inputs={layer: inputs.take(rows) for layer, inputs in self.inputs.items()})


def probe_layers(
    subject: Subject,
    untrained: ControlModels,
    dataset: ProbeDataset,
    layers: Sequence[int],
    kind: Kind = "classification",
    *,
    control_features: Mapping[str, NDArray[Any]] | None = None,
    store: ActivationStore | None = None,
    seed: int = 0,
    step: Callable[[int], None] = lambda _: None,
) -> dict[int, Measurement]:
    """What `probe` measures, at several layers, from one run of each model over the prompts.

    Args:
        subject: the model.
        untrained: as for `probe`.
        dataset: N prompts, labels and groups.
        layers: from 0, and -1 for the embedding.
        kind: as for `probe`.
        control_features: features (N, any) of further controls, by name.
        store: activations shared with other analyses.
        seed: of folds, shuffles and intervals.
        step: called with 1 after each layer.

    Raises:
        ValueError: as `probe`.
    """
    store = store or ActivationStore()
    scan = Scan(layer_inputs(subject, untrained, dataset, layers, kind, store, control_features), kind, seed)
    measurements = {}
    with one_thread():
        for layer in layers:
            measurements[layer] = scan.measurement(layer, {"site": str(site_of(layer))})
            step(1)
    return measurements


def best_layer(scan: Scan, searched: Sequence[int]) -> tuple[int, str, Measurement]:
    """The layer with the highest accuracy, how it was chosen, and its measurement.

    It is `given` where a single layer is searched; `nested` where each class has enough groups to choose the layer on
    the training side; else `in search`, and the measurement is of the best layer, without a correction.

    Args:
        scan: of classes.
        searched: the layers to choose from.
    """
    best = max(searched, key=lambda layer: scan.scores[layer].score)
    score, models = scan.scores[best], scan.each_model(searched)
    codes, index = encode(scan.dataset.labels)[1], encode(scan.dataset.groups)[1]
    if len(searched) > 1 and groups_per_class(codes, index).min() >= TO_CHOOSE:
        chosen = "nested"
        score = _nested(scan, {layer: scan.inputs[layer].features for layer in searched}, scan.scores)
        of_models = {
            kind: [
                _nested(scan, {layer: scan.inputs[layer].models[kind][i] for layer in searched}, scores)
                for i, scores in enumerate(by_model)
            ]
            for kind, by_model in models.items()
        }
    else:
        chosen = "given" if len(searched) == 1 else "in search"
        of_models = {
            kind: [max(scores.values(), key=lambda at_layer: at_layer.score) for scores in by_model]
            for kind, by_model in models.items()
        }
    inputs = scan.inputs[best]
    measurement = measurement_of(
        inputs,
        compared_with(inputs, score, scan.controls(best), scan.kind, scan.seed),
        of_models,
        best_of([scan.null(layer) for layer in searched]),
        scan.kind,
        scan.seed,
        {"layer": best, "searched": list(searched)},
    )
    return best, chosen, measurement


def _nested(scan: Scan, features: Mapping[int, NDArray[Any]], scores: Mapping[int, HeldOut]) -> HeldOut:
    """In each fold, the predictions of the best layer on the training side."""
    labels, groups = scan.dataset.labels, scan.dataset.groups
    predictions = np.empty_like(labels)
    for train, test in grouped_folds(labels, groups, seed=scan.seed):
        within = {
            layer: _ridge_accuracy(values[train], labels[train], groups[train], scan.seed)
            for layer, values in features.items()
        }
        chosen = max(within, key=lambda layer: within[layer])
        predictions[test] = scores[chosen].predictions[test]
    return HeldOut.of_classes(predictions, labels)


def _ridge_accuracy(features: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any], seed: int) -> float:
    """The held-out accuracy of a ridge on the classes' indicators: it ranks many layers in the time of one fit."""
    codes, features = encode(labels)[1], features.astype(np.float64)
    correct = 0
    for train, test in grouped_folds(labels, groups, INNER, seed):
        fitted_on, held_out_rows = standardise(features[train], features[test])
        above_share = hat(fitted_on, held_out_rows, USUAL_PENALTY) @ indicate(codes[train])
        correct += int((above_share.argmax(axis=1) == codes[test]).sum())
    return correct / len(codes)
