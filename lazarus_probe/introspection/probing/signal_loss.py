"""Is a label decodable in the middle layers and lost again before the end?

The best of many layers scores lower on other prompts; so it is chosen on one half of the prompts and the fall is
measured on the other. A fall that any network shows with depth, untrained and lesioned models show as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, layer_inputs
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.statistics.bounded import count_units, fewest_units, kinds_of
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.folds import halves
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.model_spread import over_others
from lazarus_probe.statistics.permutation import sign_flip
from lazarus_probe.statistics.probes.held_out import HeldOut
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.control_models import ControlKind, control_models

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject


def signal_loss(
    subject: Subject,
    labelled: ProbeDataset,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
    claim: Claim | None = None,
) -> Measurement:
    """How far the held-out accuracy of a probe falls from its best layer to the last one.

    The controls are `untrained`, `new_blocks` and `permuted_blocks`: the same fall in five models each, from the best
    layer of each, with a prediction interval for one more model.

    Args:
        subject: the model.
        labelled: prompts, classes and groups.
        store: activations shared with other claims.
        seed: of halves, folds and intervals.
        claim: what the measurement is judged by; where its outcome is settled without the control models, they are not
            run.

    Raises:
        ValueError: a model with one layer, or prompts that cannot be halved.
    """
    if subject.num_layers < 2:
        raise ValueError(f"{subject.name} has one layer: there is none to lose a signal after")
    store = ActivationStore() if store is None else store
    layers = range(subject.num_layers)
    read = partial(layer_inputs, dataset=labelled, layers=layers, kind="classification", store=store)
    halved = halves(labelled.labels, labelled.groups, labelled.half_units, seed)
    scan = Scan(read(subject, None), seed=seed)
    choosing, testing = _taken(scan, halved)
    with one_thread():
        best, tested = _best(choosing.scores), testing.scores
    last, dataset, units = tested[layers[-1]], testing.dataset, testing.dataset.units
    fall = tested[best].hits - last.hits
    interval, score = paired_interval(fall, units, seed=seed), float(fall.mean())

    def measure(falls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return Measurement(
            score=score,
            low=interval.low,
            high=interval.high,
            n=len(fall),
            groups=fewest_units(units),
            unit="accuracy lost by the last layer",
            controls=tuple(over_others(kind, score, interval, of_kind) for kind, of_kind in falls.items()),
            p=max(
                sign_flip(fall, of_kind, seed=seed, alternative="greater")
                for of_kind in kinds_of(units).values()
            ),
            seed=seed,
            details={"layer": best, "best": tested[best].score, "last": last.score, "models": dict(falls)},
            tokens=sum(map(len, scan.inputs[best].tokens)),
            examples=some_examples(
                testing.inputs[best].texts, dataset.labels.tolist(), last.predictions.tolist(), last.hits > 0
            ),
            curves=(
                Curve("score", tuple(map(float, tested)), tuple(layer.score for layer in tested.values())),
            ),
            units=count_units(units) if isinstance(units, Mapping) else {},
            floor=-1.0,
            unmeasured=left_out,
        )

    @cache
    def in_models() -> dict[str, list[float]]:
        choosing, testing = _taken(Scan(read(subject, control_models(subject)), seed=seed), halved)

        def fall(of: str, model: int, best_layer: int) -> float:
            best, last = (testing.in_model(of, model, layer).score for layer in (best_layer, layers[-1]))
            return best - last

        with one_thread():
            return {
                kind: [fall(kind, i, _best(scores)) for i, scores in enumerate(models)]
                for kind, models in choosing.each_model(layers).items()
            }

    costly = {kind: partial(lambda of: in_models()[of], kind) for kind in get_args(ControlKind)}
    return as_needed(claim, measure, costly)


def _taken(scan: Scan, halved: tuple[NDArray[np.intp], NDArray[np.intp]]) -> tuple[Scan, Scan]:
    """The scan of the half that chooses a layer, and of the one that tests it."""
    first, second = halved
    return scan.take(first), scan.take(second)


def _best(scores: Mapping[int, HeldOut]) -> int:
    """The layer with the highest score before the last; the first of ties."""
    *layers, _ = scores
    return max(layers, key=lambda layer: scores[layer].score)
