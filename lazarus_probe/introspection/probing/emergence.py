"""From which layer on is something readable, and not before?

The layer is searched for on one half of the prompts and confirmed on the other, for the best of many layers looks
better than it is. Its probe has the controls of `probe`, and one more: the best of the layers before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, layer_inputs
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.statistics.folds import Kind, halves
from lazarus_probe.statistics.measurement import Curve, Measurement
from lazarus_probe.statistics.model_spread import model_spread
from lazarus_probe.statistics.probes.held_out import HeldOut, gain_over, interval_of, mean_of
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
    scan = Scan(layer_inputs(subject, untrained, labelled, range(EMBED, layers), kind, store), kind, seed)
    with one_thread():
        if layer is not None:
            return _measured(scan, layer, _at(layer, layers))
        first, second = halves(labelled.labels, labelled.groups, labelled.kept_whole, seed, kind)
        search, rest = scan.take(first), scan.take(second)
        layer = find(search, declared)
        reported = _likeliest(search, declared) if layer is None else layer
        details = _at(reported, layers) | _searched(search, layer is not None, len(first))
        measured = _measured(rest, reported, details)
    return replace(measured, p=1.0) if layer is None else measured


def find(scan: Scan, declared: Declared) -> int | None:
    """The first layer with all that is declared, if there is one."""
    p = scan.p()

    def beyond(layer: int, controls: Iterable[HeldOut]) -> bool:
        return all(scan.scores[layer].score - control.score >= declared.margin for control in controls)

    for layer in scan.layers:
        if (
            scan.scores[layer].score >= declared.threshold
            and p[layer] <= declared.alpha
            and beyond(layer, [*scan.controls(layer).values(), scan.scores[scan.before(layer)]])
            and beyond(layer, map(mean_of, scan.models(layer).values()))
        ):
            return layer
    return None


def _likeliest(scan: Scan, declared: Declared) -> int:
    """The layer to report on where none was found."""
    scores = {layer: scan.scores[layer].score for layer in scan.layers}
    past = [layer for layer, score in scores.items() if score >= declared.threshold]
    return past[0] if past else max(scores, key=lambda layer: scores[layer])


def _measured(scan: Scan, layer: int, details: Mapping[str, Any]) -> Measurement:
    before = scan.before(layer)
    measured = scan.measurement(layer, details)
    gain = gain_over(
        "layer_before", scan.scores[layer], scan.scores[before], scan.dataset.units, scan.kind, scan.seed
    )
    return replace(
        measured,
        controls=(*measured.controls, gain),
        details={**measured.details, "layer_before": before, "p_by_layer": list(scan.p().values())},
        curves=_curves(scan),
    )


def _at(layer: int, layers: int) -> dict[str, Any]:
    return {"site": str(resid_post(layer)), "layer": layer, "relative_depth": layer / layers}


def _searched(search: Scan, found: bool, n: int) -> dict[str, Any]:
    return {
        "found": found,
        "discovery_n": n,
        "discovery_scores": [search.scores[layer].score for layer in search.layers],
        "discovery_p": list(search.p().values()),
    }


def _curves(scan: Scan) -> tuple[Curve, ...]:
    """The score and each control by layer; the band of shuffled labels is that of the null itself."""
    controls = {layer: scan.controls(layer) for layer in scan.inputs}
    lines = {"score": scan.scores} | {
        name: {layer: each[name] for layer, each in controls.items() if name in each}
        for name in controls[scan.layers[-1]]
    }
    drawn = [_curve(name, line, scan) for name, line in lines.items()]
    drawn += _model_curves({layer: scan.models(layer) for layer in scan.inputs})
    tests = {layer: scan.null(layer) for layer in scan.inputs}
    chance = Curve(
        "shuffled_labels",
        tuple(map(float, tests)),
        tuple(float(test.null.mean()) for test in tests.values()),
        tuple(test.interval[0] for test in tests.values()),
        tuple(test.interval[1] for test in tests.values()),
    )
    return (*drawn, chance)


def _curve(name: str, line: Mapping[int, HeldOut], scan: Scan) -> Curve:
    intervals = [interval_of(each, scan.dataset.units, scan.kind, scan.seed) for each in line.values()]
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
        scores = {
            layer: [model.score for model in each[name]] for layer, each in models.items() if name in each
        }
        means = np.array([np.mean(each) for each in scores.values()])
        reach = np.array([model_spread(each) for each in scores.values()])
        x, y, low, high = (tuple(map(float, each)) for each in (scores, means, means - reach, means + reach))
        curves.append(Curve(name, x, y, low, high))
    return curves
