"""At which layers can classes of prompts be separated, and is that more than their words give away?

A linear probe at the last token of every layer, scored on held-out groups of prompts, compared with what needs no
model: the majority class, a bag of tokens, the token embeddings, the same layers of untrained and lesioned models, and
shuffled labels under the best of all layers (max statistic, Westfall & Young 1993).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.probing.inputs import ProbeDataset, layer_inputs
from lazarus_probe.introspection.probing.layer_scan import Scan, best_layer
from lazarus_probe.introspection.probing.leaks import words
from lazarus_probe.statistics.folds import encode, grouped_folds
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.probes.held_out import interval_of, mean_of
from lazarus_probe.statistics.probes.linear import in_span, standardise
from lazarus_probe.statistics.probes.logistic import fit_logistic
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.subject.relative_depth import EMBED

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Prediction:
    """What the probe of the best layer, fitted on all prompts, says of another.

    Attributes:
        prompt: its text.
        probabilities: by class.
        seen: whether the probe was fitted on this very prompt.
    """

    prompt: str
    probabilities: Mapping[str, float]
    seen: bool

    @property
    def predicted(self) -> str:
        """The likeliest class."""
        return max(self.probabilities, key=lambda label: self.probabilities[label])


@dataclass(frozen=True)
class LayerScore:
    """The probe at one layer.

    Attributes:
        layer: -1 is the token embedding.
        accuracy: on held-out groups.
        std: of the folds' accuracies.
        low: lower end of the accuracy's interval.
        high: upper end.
        untrained: the mean accuracy in untrained models.
        p: under shuffled labels, corrected for all layers searched; None where it is not searched.
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


@dataclass(frozen=True, eq=False)
class ClassProbe:
    """Probes at every place.

    Attributes:
        model: its name.
        num_layers: how many it has.
        classes: by label, the prompts.
        scores: the embedding first, then the layers.
        best_layer: of the highest accuracy, the first of ties; or the requested one.
        chosen: how: `given`, `nested`, or `in search` where the prompts are too few to choose on some of them.
        measurement: of the chosen layer; the score is of the whole procedure, choice included, where it is nested.
        predictions: of test prompts.
        independent: whether each prompt was taken for a group of its own.
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
    features: NDArray[Any]
    labelled: ProbeDataset
    seed: int

    @property
    def best(self) -> LayerScore:
        """The score of the best layer."""
        return next(each for each in self.scores if each.layer == self.best_layer)

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        by_place = [
            {
                "layer": each.layer,
                "accuracy": each.accuracy,
                "std": each.std,
                "interval": [each.low, each.high],
                "untrained": each.untrained,
                "p": each.p,
            }
            for each in self.scores
        ]
        return {
            "model": self.model,
            "num_layers": self.num_layers,
            "classes": {label: list(prompts) for label, prompts in self.classes.items()},
            "layer_results": by_place[1:],
            "best_layer": self.best_layer,
            "best_accuracy": self.best.accuracy,
            "embedding": by_place[0],
            "chosen": self.chosen,
            "measurement": self.measurement.as_dict(),
            "groups_given": not self.independent,
            "test_predictions": [
                {
                    "prompt": each.prompt,
                    "predicted": each.predicted,
                    "probability": each.probabilities[each.predicted],
                    "probabilities": dict(each.probabilities),
                    "seen": each.seen,
                }
                for each in self.predictions
            ],
        }

    def _repr_html_(self) -> str:
        rows = [
            [
                each.name,
                Cell(f"{each.accuracy:.3f}", f"[{each.low:.2f}, {each.high:.2f}]", each.accuracy),
                f"{each.std:.3f}",
                f"{each.untrained:.3f}",
                "" if each.p is None else f"{each.p:.3f}",
            ]
            for each in self.scores
        ]
        columns = ("Layer", "Held-out accuracy", "Std", "Untrained", "p")
        return table(f"{self.model}: {', '.join(self.classes)}; best L{self.best_layer}", columns, rows)


def labelled_classes(
    classes: Mapping[str, Sequence[str]], groups: Sequence[str] | None = None
) -> ProbeDataset:
    """Prompts of classes with what a split keeps together: the groups given, or only what has the same words.

    Args:
        classes: by label, the prompts.
        groups: one for each prompt, class after class.

    Raises:
        ValueError: fewer than two classes, a class in fewer than two groups, a prompt of two classes or two groups, or
            groups of another number than the prompts.
    """
    prompts = [prompt for each in classes.values() for prompt in each]
    labels = [label for label, each in classes.items() for _ in each]
    if len(classes) < 2:
        raise ValueError(f"{len(classes)} class given; a probe needs at least two")
    if groups is not None and len(groups) != len(prompts):
        raise ValueError(
            f"{len(groups)} groups given for {len(prompts)} prompts; give one for each, in order"
        )
    first_of: dict[tuple[Any, ...], str] = {}
    alike = [first_of.setdefault(tuple(words(prompt, prompt)), prompt) for prompt in prompts]
    units = alike if groups is None else list(groups)
    for name, of_each in (("class", labels), ("group", units)):
        first: dict[str, str] = {}
        for prompt, value in zip(prompts, of_each, strict=True):
            if first.setdefault(prompt, value) != value:
                raise ValueError(f"prompt {prompt!r} is in {name} {first[prompt]!r} and {value!r}; give one")
    for label in classes:
        count = len({unit for unit, of in zip(units, labels, strict=True) if of == label})
        if count < 2:
            what = "distinct prompt" if groups is None else "group"
            raise ValueError(
                f"class {label!r} has {count} {what}; each needs at least 2 to be tested on prompts not trained on, "
                "and 10 in all before anything can be found"
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
        classes: by label, the prompts.
        layers: where to probe; all by default.
        layer: the one that is asked about; without it, the best is searched for.
        groups: one for each prompt, class after class; without them prompts of other words are taken as independent.
        tests: prompts to name the class of.
        store: activations shared with other analyses.
        seed: of folds, shuffles and intervals.

    Raises:
        ValueError: as `labelled_classes`, or no split that leaves every class on each training side.

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
    wanted = sorted(
        {*(range(subject.num_layers) if layers is None else layers), *([] if layer is None else [layer])}
    )
    inputs = layer_inputs(
        subject, control_models(subject), labelled, [EMBED, *wanted], "classification", store
    )
    scan, searched = Scan(inputs, seed=seed), wanted if layer is None else [layer]
    with one_thread():
        best, chosen, measurement = best_layer(scan, searched)
        p = scan.p(searched)
        scores = [_layer_score(scan, layer, p.get(layer)) for layer in inputs]
    features, site = inputs[best].features, resid_post(best)
    unseen = store.get(subject, tests, [site])[site] if len(tests) else features[:0]
    return ClassProbe(
        model=subject.name,
        num_layers=subject.num_layers,
        classes={label: tuple(prompts) for label, prompts in classes.items()},
        scores=scores,
        best_layer=best,
        chosen=chosen,
        measurement=measurement,
        predictions=_predictions(features, labelled, unseen.reshape(-1, features.shape[1]), tests),
        independent=groups is None,
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
        low=interval.low,
        high=interval.high,
        untrained=mean_of(scan.models(layer)["untrained"]).score,
        p=p,
    )


def probabilities(features: NDArray[Any], labels: NDArray[Any], unseen: NDArray[Any]) -> NDArray[np.float64]:
    """(M, C) of each class, in sorted order, for rows (M, D), by a probe fitted on all of the others (N, D)."""
    codes = encode(labels)[1]
    features, unseen = features.astype(np.float64), unseen.astype(np.float64)
    seen, others = in_span(*standardise(features, unseen))
    shares = np.bincount(codes) / len(codes)
    return np.asarray(fit_logistic(seen, codes, USUAL_STRENGTH, shares).probabilities(others))


def _predictions(
    features: NDArray[Any], labelled: ProbeDataset, unseen: NDArray[Any], tests: Sequence[str]
) -> list[Prediction]:
    if not len(tests):
        return []
    names, fitted_on = encode(labelled.labels)[0].tolist(), set(labelled.prompts)
    rows = probabilities(features, labelled.labels, unseen).tolist()
    return [
        Prediction(prompt, dict(zip(names, row, strict=True)), prompt in fitted_on)
        for prompt, row in zip(tests, rows, strict=True)
    ]
