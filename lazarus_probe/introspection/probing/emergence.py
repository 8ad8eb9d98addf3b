"""From which layer on is something readable, and not before?

Looked for on one half of the prompts and confirmed on the other, for the best of many layers looks better than it is.
Over the layers searched, chance is that of the best of them (max statistic, Westfall & Young 1993). The layer's probe
has the controls of `probe`, and one more: the best of the layers before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, Readings, read
from lazarus_probe.introspection.probing.probe import measure, model_scores, rivals
from lazarus_probe.statistics import Kind, PermutationTest, halves, max_statistic_p
from lazarus_probe.statistics.bounded import Units
from lazarus_probe.statistics.measurement import Curve, Measurement
from lazarus_probe.statistics.model_spread import model_spread
from lazarus_probe.statistics.probes.held_out import (
    LEVEL,
    HeldOut,
    gain_over,
    held_out,
    interval_of,
    mean_of,
    null_of,
)
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.relative_depth import EMBED

if TYPE_CHECKING:
    from lazarus_probe.subject.control_models import ControlModels
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Declared:
    """What a layer must show to be taken for the one.

    Attributes:
        threshold: the least score.
        margin: the least gain over each control and over the best layer before.
        alpha: the largest p, corrected for all layers.
    """

    threshold: float
    margin: float
    alpha: float


@dataclass(frozen=True)
class Scan:
    """Probes at every place, the embedding as layer -1, on some of the prompts.

    Attributes:
        scores: by layer.
        controls: by layer, the controls that are neither of the layers before nor of other models.
        nulls: by layer, the probe that shuffled labels are compared with.
        models: for a layer, by kind, each control model; fitted when it is called.
    """

    scores: Mapping[int, HeldOut]
    controls: Mapping[int, Mapping[str, HeldOut]]
    nulls: Mapping[int, PermutationTest]
    models: Callable[[int], Mapping[str, Sequence[HeldOut]]] = lambda _: {}

    @property
    def layers(self) -> list[int]:
        """Without the embedding."""
        return [layer for layer in self.scores if layer != EMBED]

    def before(self, layer: int) -> int:
        """The place with the best score below a layer."""
        return max(range(EMBED, layer), key=lambda place: self.scores[place].score)

    def p(self) -> dict[int, float]:
        """By layer, corrected for having looked at all."""
        tests = [self.nulls[layer] for layer in self.layers]
        values = max_statistic_p([t.observed for t in tests], np.stack([t.null for t in tests], axis=1))
        return dict(zip(self.layers, values.tolist(), strict=True))


def emergence(
    subject: Subject,
    untrained: ControlModels,
    labelled: ProbeDataset,
    *,
    threshold: float,
    margin: float,
    alpha: float = 0.05,
    layer: int | None = None,
    kind: Kind = "classification",
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """Probe the residual stream after every layer, and test that something becomes readable at one of them.

    The layer is the first, on the discovery half, whose score is past the threshold, whose gain over every control and
    over the best layer before is past the margin, and whose p is small enough among all layers. The measurement is of
    the confirmation half at that layer. Where none is found, p is 1, and the numbers are of the first
    layer past the threshold, or else of the best. A layer that was published is not searched for, and is tested on
    all prompts.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture, as for `probe`.
        labelled: prompts, labels and groups.
        threshold: the least score that is claimed.
        margin: the least gain over each control.
        alpha: the largest p, corrected for all layers.
        layer: where it was published to be; None searches.
        kind: `classification` scores accuracy, `regression` capped R2 against the mean of the training side.
        store: activations shared with other claims.
        seed: of halves, folds, shuffles and intervals.

    Returns:
        The controls are those of `probe` and `layer_before`; the details have `layer`, `relative_depth`, `found`,
        the scores and p of the search by layer; the curves are of the prompts measured.

    Raises:
        ValueError: as `probe`, prompts of which no two halves can be made, or a layer that the model lacks.

    Example:
        >>> from itertools import combinations
        >>> from lazarus_probe import ProbeDataset, emergence
        >>> from lazarus_probe.subject import untrained_models
        >>> operands = list(combinations(range(2, 7), 2))
        >>> dataset = ProbeDataset(
        ...     prompts=[f"{a}{sign}{b}=" for a, b in operands for sign in "*+"],
        ...     labels=["multiply", "add"] * len(operands),
        ...     groups=[f"{a},{b}" for a, b in operands for _ in "*+"],
        ... )
        >>> models = untrained_models(subject, count=3)
        >>> measurement = emergence(subject, models, dataset, threshold=0.9, margin=0.05, layer=4)
        >>> "layer_before" in [control.name for control in measurement.controls]
        True
        >>> measurement.best_control.gain < 0.05  # the operation is in the prompt: it emerges at no layer
        True
    """
    declared, layers = Declared(threshold, margin, alpha), subject.num_layers
    if layer is not None and not 0 <= layer < layers:
        raise ValueError(f"layer {layer} does not exist: the model has layers 0 to {layers - 1}")
    store = ActivationStore() if store is None else store
    sites = [Site("embed"), *(resid_post(each) for each in range(layers))]
    by_site = read(subject, untrained, labelled, sites, kind, store)
    places = {place: by_site[site] for place, site in enumerate(sites, EMBED)}
    with one_thread():
        if layer is not None:
            scan = _scan(places, kind, seed)
            return _measured(places, scan, layer, _at(layer, layers), kind, seed)
        first, second = halves(labelled.labels, labelled.groups, labelled.kept_whole, seed, kind)
        search = _scan({place: each.take(first) for place, each in places.items()}, kind, seed)
        found = find(search, declared)
        layer = _likeliest(search, declared) if found is None else found
        rest = {place: each.take(second) for place, each in places.items()}
        details = _at(layer, layers) | _searched(search, found is not None, len(first))
        measured = _measured(rest, _scan(rest, kind, seed), layer, details, kind, seed)
    return measured if found is not None else replace(measured, p=1.0)


def find(scan: Scan, declared: Declared) -> int | None:
    """The first layer with all that is declared, if there is one."""
    p = scan.p()

    def beyond(layer: int, others: Iterable[HeldOut]) -> bool:
        return all(scan.scores[layer].score - other.score >= declared.margin for other in others)

    for layer in scan.layers:
        if (
            scan.scores[layer].score >= declared.threshold
            and p[layer] <= declared.alpha
            and beyond(layer, [*scan.controls[layer].values(), scan.scores[scan.before(layer)]])
            and beyond(layer, map(mean_of, scan.models(layer).values()))
        ):
            return layer
    return None


def _likeliest(scan: Scan, declared: Declared) -> int:
    """The layer to report on where none was found."""
    scores = {layer: scan.scores[layer].score for layer in scan.layers}
    past = [layer for layer, score in scores.items() if score >= declared.threshold]
    return past[0] if past else max(scores, key=lambda layer: scores[layer])


def _scan(places: Mapping[int, Readings], kind: Kind, seed: int) -> Scan:
    problems = {place: each.problem(each.features, kind, seed) for place, each in places.items()}
    return Scan(
        {place: held_out(problem) for place, problem in problems.items()},
        {place: rivals(each, kind, seed) for place, each in places.items()},
        {place: null_of(problem) for place, problem in problems.items()},
        lambda place: model_scores(places[place], kind, seed),
    )


def _measured(
    places: Mapping[int, Readings], scan: Scan, layer: int, details: Mapping[str, Any], kind: Kind, seed: int
) -> Measurement:
    readings, before = places[layer], scan.before(layer)
    units = readings.labelled.units
    found = measure(readings, kind, seed, details)
    gain = gain_over("layer_before", scan.scores[layer], scan.scores[before], units, kind, seed)
    about = {**found.details, "layer_before": before, "p_by_layer": list(scan.p().values())}
    curves = _curves(scan, units, kind, seed)
    return replace(found, controls=(*found.controls, gain), details=about, curves=curves)


def _at(layer: int, layers: int) -> dict[str, Any]:
    return {"site": str(resid_post(layer)), "layer": layer, "relative_depth": layer / layers}


def _searched(search: Scan, found: bool, n: int) -> dict[str, Any]:
    return {
        "found": found,
        "discovery_n": n,
        "discovery_scores": [search.scores[layer].score for layer in search.layers],
        "discovery_p": list(search.p().values()),
    }


def _curves(scan: Scan, units: Units, kind: Kind, seed: int) -> tuple[Curve, ...]:
    """The score and each control by layer; the band of shuffled labels is that of the null itself."""
    lines = {"score": scan.scores} | {
        name: {place: each[name] for place, each in scan.controls.items() if name in each}
        for name in scan.controls[scan.layers[-1]]
    }
    drawn = [_curve(name, line, units, kind, seed) for name, line in lines.items()]
    drawn += _model_curves({place: scan.models(place) for place in scan.scores})
    ends = [np.quantile(test.null, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]) for test in scan.nulls.values()]
    chance = Curve(
        "shuffled_labels",
        tuple(map(float, scan.nulls)),
        tuple(float(test.null.mean()) for test in scan.nulls.values()),
        tuple(float(low) for low, _ in ends),
        tuple(float(high) for _, high in ends),
    )
    return (*drawn, chance)


def _curve(name: str, line: Mapping[int, HeldOut], units: Units, kind: Kind, seed: int) -> Curve:
    intervals = [interval_of(each, units, kind, seed) for each in line.values()]
    return Curve(
        name,
        tuple(map(float, line)),
        tuple(each.score for each in line.values()),
        tuple(each.low for each in intervals),
        tuple(each.high for each in intervals),
    )


def _model_curves(models: Mapping[int, Mapping[str, Sequence[HeldOut]]]) -> list[Curve]:
    """By kind of control model, their mean, and where one more of them would fall."""
    curves = []
    for name in models[max(models)]:
        scores = {place: [one.score for one in each[name]] for place, each in models.items() if name in each}
        means = np.array([np.mean(each) for each in scores.values()])
        reach = np.array([model_spread(each) for each in scores.values()])
        x, y, low, high = (tuple(map(float, each)) for each in (scores, means, means - reach, means + reach))
        curves.append(Curve(name, x, y, low, high))
    return curves
