"""From which layer on is a label decodable, and not before?

The layer is searched for on one half of the prompts and confirmed on the other, as the score of the best of many layers
is too high. Its probe has the controls of `probe`, and one more: the best of the layers before it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

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

T = TypeVar("T")


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
    """Probe the residual stream after every layer, and test that a label becomes decodable at one of them.

    The layer is the first, on the discovery half, whose score is past the threshold, whose gain over every control and
    over the best layer before is past the margin, and whose p is small enough among all layers. The measurement is of
    the confirmation half at that layer. If there is none, p is 1, and the numbers are of the first layer past the
    threshold, or else of the best. A published layer is not searched for, and is tested on all prompts.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture, as for `probe`.
        labelled: prompts, labels and groups.
        threshold: the least score that is claimed.
        margin: the least gain over each control.
        alpha: the largest p, corrected for all layers.
        layer: the published layer; None searches.
        kind: `classification` scores accuracy, `regression` capped R2 against the mean of the training side.
        store: activations shared with other claims.
        seed: of halves, folds, shuffles and intervals.

    Returns:
        The controls are those of `probe` and `layer_before`; the details have `layer`, `relative_depth`, `found`,
        the scores and p of the search by layer; the curves are of the prompts measured.

    Raises:
        ValueError: as `probe`, prompts that cannot be halved, or a layer that the model does not have.

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
    layers = subject.num_layers
    if layer is not None and not 0 <= layer < layers:
        raise ValueError(f"layer {layer} does not exist: the model has layers 0 to {layers - 1}")
    store = ActivationStore() if store is None else store
    scan = Scan(layer_inputs(subject, untrained, labelled, range(EMBED, layers), kind, store), kind, seed)
    with one_thread():
        if layer is not None:
            return _measured(scan, layer, {})
        first, second = halves(labelled.labels, labelled.groups, labelled.half_units, seed, kind)
        discovery, confirmation = scan.take(first), scan.take(second)
        layer = find(discovery, threshold, margin, alpha)
        details = {
            "found": layer is not None,
            "discovery_n": len(first),
            "discovery_scores": [discovery.scores[layer].score for layer in discovery.layers],
            "discovery_p": list(discovery.p().values()),
        }
        reported = _nearest(discovery, threshold) if layer is None else layer
        measured = _measured(confirmation, reported, details)
    return replace(measured, p=1.0) if layer is None else measured


def find(scan: Scan, threshold: float, margin: float, alpha: float) -> int | None:
    """The first layer with such a score, such a gain over each control and the best layer before, and such a p."""
    p = scan.p()

    def beyond(layer: int, controls: Iterable[HeldOut]) -> bool:
        return all(scan.scores[layer].score - control.score >= margin for control in controls)

    for layer in scan.layers:
        if (
            scan.scores[layer].score >= threshold
            and p[layer] <= alpha
            and beyond(layer, [*scan.controls(layer).values(), scan.scores[scan.before(layer)]])
            and beyond(layer, map(mean_of, scan.models(layer).values()))
        ):
            return layer
    return None


def _nearest(scan: Scan, threshold: float) -> int:
    """The layer to report if `find` finds none."""
    scores = {layer: scan.scores[layer].score for layer in scan.layers}
    past = [layer for layer, score in scores.items() if score >= threshold]
    return past[0] if past else max(scores, key=lambda layer: scores[layer])


def _measured(scan: Scan, layer: int, details: Mapping[str, Any]) -> Measurement:
    before, depth = scan.before(layer), layer / len(scan.layers)
    at = {"site": str(resid_post(layer)), "layer": layer, "relative_depth": depth}
    measured = scan.measurement(layer, {**at, **details})
    gain = gain_over(
        "layer_before", scan.scores[layer], scan.scores[before], scan.dataset.units, scan.kind, scan.seed
    )
    return replace(
        measured,
        controls=(*measured.controls, gain),
        details={**measured.details, "layer_before": before, "p_by_layer": list(scan.p().values())},
        curves=_curves(scan),
    )


def _curves(scan: Scan) -> tuple[Curve, ...]:
    """The score and each control by layer: with intervals, the spread of control models, and the null's interval."""
    last = scan.layers[-1]
    controls = {layer: scan.controls(layer) for layer in scan.inputs}
    models = {layer: scan.models(layer) for layer in scan.inputs}
    lines = {"score": scan.scores} | {name: _of_layers(controls, name) for name in controls[last]}
    curves = []
    for name, scores in lines.items():
        intervals = [
            interval_of(score, scan.dataset.units, scan.kind, scan.seed) for score in scores.values()
        ]
        points = [(score.score, i.low, i.high) for score, i in zip(scores.values(), intervals, strict=True)]
        curves.append(_curve(name, scores, points))
    for kind in models[last]:
        by_layer = _of_layers(models, kind)
        of_models = [[model.score for model in at_layer] for at_layer in by_layer.values()]
        means, spreads = [float(np.mean(scores)) for scores in of_models], map(model_spread, of_models)
        points = [(mean, mean - spread, mean + spread) for mean, spread in zip(means, spreads, strict=True)]
        curves.append(_curve(kind, by_layer, points))
    tests = [scan.null(layer) for layer in scan.inputs]
    points = [(float(test.null.mean()), *test.interval) for test in tests]
    return (*curves, _curve("shuffled_labels", scan.inputs, points))


def _of_layers(by_layer: Mapping[int, Mapping[str, T]], name: str) -> dict[int, T]:
    """Those of one name, at the layers that have them."""
    return {layer: by_name[name] for layer, by_name in by_layer.items() if name in by_name}


def _curve(name: str, layers: Iterable[int], points: Iterable[Sequence[float]]) -> Curve:
    """A curve of a score, and its lower and upper bound, by layer."""
    y, low, high = (tuple(map(float, values)) for values in zip(*points, strict=True))
    return Curve(name, tuple(map(float, layers)), y, low, high)
