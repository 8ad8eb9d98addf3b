"""At which layers can a linear probe separate classes of prompts, beyond what their words give away?

A linear probe at the last token of every layer, scored on held-out groups of prompts, compared with the majority class,
a bag of tokens, the token embeddings, the same layers of untrained and lesioned models, and shuffled labels under the
best of all layers (max statistic, Westfall & Young 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, layer_inputs
from lazarus_probe.introspection.probing.layer_scan import Scan, best_layer
from lazarus_probe.introspection.probing.leaks import across, default_units
from lazarus_probe.statistics.folds import encode, grouped_folds
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.probes.held_out import interval_of, mean_of
from lazarus_probe.statistics.probes.linear import in_span, standardise
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.subject.relative_depth import EMBED
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

OF_SIZES = ("majority", "shuffled_labels")
# Level at which an accuracy is below chance.
BELOW = 0.01


@dataclass(frozen=True)
class Prediction:
    """The prediction of the best layer's probe, fitted on all prompts, for a test prompt.

    Attributes:
        prompt: its text.
        probabilities: by class.
        fitted_on: whether it is one of the prompts that the probe was fitted on.
    """

    prompt: str
    probabilities: Mapping[str, float]
    fitted_on: bool

    @property
    def predicted(self) -> str:
        """The most probable class."""
        return max(self.probabilities, key=lambda label: self.probabilities[label])


@dataclass(frozen=True)
class LayerScore:
    """The probe at one layer.

    Attributes:
        layer: -1 is the token embedding.
        accuracy: on held-out groups.
        std: of the accuracies of the folds.
        interval: of the accuracy.
        untrained: mean accuracy in untrained models.
        p: under shuffled labels, corrected for all layers searched; None for other layers.
    """

    layer: int
    accuracy: float
    std: float
    interval: tuple[float, float]
    untrained: float
    p: float | None

    @property
    def name(self) -> str:
        """Its name in tables."""
        return "embed" if self.layer == EMBED else f"L{self.layer}"


@dataclass(frozen=True, eq=False)
class ClassProbe:
    """Probes at the embedding and the layers.

    Attributes:
        model: its name.
        num_layers: of the model.
        classes: prompts by label.
        scores: the embedding first, then the layers.
        best_layer: the layer with the highest accuracy, the first of ties; or the requested one.
        chosen: `given`, `nested`, or `in search` where there are too few groups for nested cross-validation.
        measurement: of the chosen layer; if nested, the score includes the choice.
        predictions: of test prompts.
        independent: whether no groups were given, and prompts count as independent that are neither of the same words
            nor matched across classes.
        matched: how many prompts a split keeps together with one of another class, for they differ in few words; 0
            with groups.
        features: (N, D) at the best layer.
        labelled: the N prompts.
        seed: of folds, shuffles and intervals.
    """

    model: str
    num_layers: int
    classes: Mapping[str, Sequence[str]]
    scores: Sequence[LayerScore]
    best_layer: int
    chosen: str
    measurement: Measurement
    predictions: Sequence[Prediction]
    independent: bool
    matched: int
    features: NDArray[Any]
    labelled: ProbeDataset
    seed: int

    @property
    def best(self) -> LayerScore:
        """The score of the best layer."""
        return next(score for score in self.scores if score.layer == self.best_layer)

    @property
    def table(self) -> Table:
        """The embedding and the layers by their held-out accuracies."""
        columns = [
            Column("Layer"),
            Column("Accuracy", ".3f"),
            Column("Std", ".3f", width=5),
            Column("95% interval"),
            Column("Untrained", ".3f"),
            Column("p", ".3f", width=5),
        ]
        rows = [
            [
                score.name,
                Cell(score.accuracy, shade=score.accuracy),
                score.std,
                "[{:.2f}, {:.2f}]".format(*score.interval),
                score.untrained,
                score.p,
            ]
            for score in self.scores
        ]
        return Table(columns, rows, f"{self.model}: {', '.join(self.classes)}; best L{self.best_layer}")

    def below_chance(self) -> list[str]:
        """What is right less often than chance allows: `probe`, or the names of controls; empty if nothing is.

        A held-out accuracy below chance shows that splits separated prompts that belong together: those that were
        learnt say of those that are tested the opposite of the truth. Chance is an even guess for every group, at a
        level of .01. The controls that learn nothing but the size of the classes are not looked at.
        """
        from scipy.stats import binomtest

        measured, even = self.measurement, 1 / len(self.classes)
        scores = {"probe": measured.score} | {
            control.name: control.score for control in measured.controls if control.name not in OF_SIZES
        }
        return [
            name
            for name, score in scores.items()
            if binomtest(round(score * measured.groups), measured.groups, even, "less").pvalue <= BELOW
        ]

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        embedding, *layers = (vars(score) | {"interval": list(score.interval)} for score in self.scores)
        return {
            "model": self.model,
            "num_layers": self.num_layers,
            "classes": {label: list(prompts) for label, prompts in self.classes.items()},
            "layer_results": layers,
            "best_layer": self.best_layer,
            "best_accuracy": self.best.accuracy,
            "embedding": embedding,
            "chosen": self.chosen,
            "measurement": self.measurement.as_dict(),
            "groups_given": not self.independent,
            "matched_prompts": self.matched,
            "below_chance": self.below_chance(),
            "test_predictions": [
                {
                    "prompt": prediction.prompt,
                    "predicted": prediction.predicted,
                    "probability": prediction.probabilities[prediction.predicted],
                    "probabilities": dict(prediction.probabilities),
                    "seen": prediction.fitted_on,
                }
                for prediction in self.predictions
            ],
        }

    def _repr_html_(self) -> str:
        return self.table.html()


def labelled_classes(
    classes: Mapping[str, Sequence[str]], groups: Sequence[str] | None = None
) -> ProbeDataset:
    """Prompts labelled by class, with groups: by default prompts of the same words, and pairs matched across classes.

    Args:
        classes: prompts by label.
        groups: one per prompt, class after class.

    Raises:
        ValueError: fewer than two classes, a class with fewer than two groups, a prompt in two classes or two groups,
            or not one group per prompt.
    """
    prompts = [prompt for of_class in classes.values() for prompt in of_class]
    labels = [label for label, of_class in classes.items() for _ in of_class]
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} class given; a probe needs at least two")
    if groups is not None and len(groups) != len(prompts):
        raise ValueError(
            f"{len(groups)} groups given for {len(prompts)} prompts; give one for each, in order"
        )
    units = default_units(prompts, labels) if groups is None else list(groups)
    for name, values in (("class", labels), ("group", units)):
        first: dict[str, str] = {}
        for prompt, value in zip(prompts, values, strict=True):
            if first.setdefault(prompt, value) != value:
                raise ValueError(f"prompt {prompt!r} is in {name} {first[prompt]!r} and {value!r}; give one")
    for label in classes:
        count = len({unit for unit, of in zip(units, labels, strict=True) if of == label})
        if count < 2:
            unit_name = "distinct prompt" if groups is None else "group"
            raise ValueError(
                f"class {label!r} has {count} {unit_name}; each needs at least 2 to be tested on prompts not trained "
                "on, and 10 in all before anything can be found"
            )
    return ProbeDataset(prompts, labels, units)


def class_probe(
    subject: Subject,
    classes: Mapping[str, Sequence[str]],
    *,
    layers: Sequence[int] | None = None,
    layer: int | None = None,
    groups: Sequence[str] | None = None,
    tests: Sequence[str] = (),
    store: ActivationStore | None = None,
    seed: int = 0,
) -> ClassProbe:
    """Probe the last token's residual stream for classes of prompts, after every block and at the embedding.

    Args:
        subject: the model.
        classes: prompts by label.
        layers: where to probe; all by default.
        layer: the layer to measure; by default the best is searched for.
        groups: one per prompt, class after class; by default prompts count as independent that are neither of the
            same words nor matched across classes.
        tests: prompts to classify.
        store: activations shared with other analyses.
        seed: of folds, shuffles and intervals.

    Raises:
        ValueError: as `labelled_classes`, or no split with every class on each training side.

    Example:
        >>> from itertools import combinations
        >>> from lazarus_probe import class_probe
        >>> operands = list(combinations(range(2, 7), 2))
        >>> classes = {
        ...     "multiply": [f"{a}*{b}=" for a, b in operands],
        ...     "add": [f"{a}+{b}=" for a, b in operands],
        ... }
        >>> result = class_probe(subject, classes, layers=[5], layer=5, tests=["9*9="])
        >>> [score.layer for score in result.scores]  # -1 is the embedding
        [-1, 5]
        >>> result.predictions[0].predicted in classes
        True
    """
    labelled, store = labelled_classes(classes, groups), store or ActivationStore()
    chosen_layer = [] if layer is None else [layer]
    probed = sorted({*(range(subject.num_layers) if layers is None else layers), *chosen_layer})
    inputs = layer_inputs(
        subject, control_models(subject), labelled, [EMBED, *probed], "classification", store
    )
    scan, searched = Scan(inputs, seed=seed), chosen_layer or probed
    with one_thread():
        best, chosen, measurement = best_layer(scan, searched)
        p = scan.p(searched)
        scores = [_layer_score(scan, layer, p.get(layer)) for layer in inputs]
    features, site = inputs[best].features, resid_post(best)
    predictions = (
        _predictions(features, labelled, store.get(subject, tests, [site])[site], tests) if len(tests) else []
    )
    return ClassProbe(
        model=subject.name,
        num_layers=subject.num_layers,
        classes={label: tuple(prompts) for label, prompts in classes.items()},
        scores=scores,
        best_layer=best,
        chosen=chosen,
        measurement=measurement,
        predictions=predictions,
        independent=groups is None,
        matched=across(labelled.groups, labelled.labels) if groups is None else 0,
        features=features,
        labelled=labelled,
        seed=seed,
    )


def _layer_score(scan: Scan, layer: int, p: float | None) -> LayerScore:
    score, dataset = scan.scores[layer], scan.dataset
    interval = interval_of(score, dataset.units, scan.kind, scan.seed)
    folds = grouped_folds(dataset.labels, dataset.groups, seed=scan.seed)
    return LayerScore(
        layer=layer,
        accuracy=score.score,
        std=float(np.std([score.take(test).score for _, test in folds])),
        interval=(interval.low, interval.high),
        untrained=mean_of(scan.models(layer)["untrained"]).score,
        p=p,
    )


def probabilities(features: NDArray[Any], labels: NDArray[Any], unseen: NDArray[Any]) -> NDArray[np.float64]:
    """(M, C) class probabilities, in sorted order, of unseen rows (M, D), by a probe fitted on features (N, D)."""
    codes = encode(labels)[1]
    training, test = in_span(*standardise(features.astype(np.float64), unseen.astype(np.float64)))
    shares = np.bincount(codes) / len(codes)
    return np.asarray(fit_logistic(training, codes, USUAL_STRENGTH, shares).probabilities(test))


def _predictions(
    features: NDArray[Any], labelled: ProbeDataset, states: NDArray[Any], tests: Sequence[str]
) -> list[Prediction]:
    names, fitted_on = encode(labelled.labels)[0].tolist(), set(labelled.prompts)
    rows = probabilities(features, labelled.labels, states.reshape(len(tests), -1)).tolist()
    return [
        Prediction(prompt, dict(zip(names, row, strict=True)), prompt in fitted_on)
        for prompt, row in zip(tests, rows, strict=True)
    ]
