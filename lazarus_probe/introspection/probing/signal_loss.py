"""Is a label decodable in the middle layers and lost again before the end?

The best of many layers scores lower on other prompts; so it is chosen on one half of the prompts and the fall is
measured on the other. A fall that any network shows with depth, untrained and lesioned models show as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, get_args

from lazarus_probe.claims.verdict import settled
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
    if claim is not None:
        measured = _fall(Scan(read(subject, None), seed=seed), labelled, seed)
        if settled(claim, measured):
            return measured
    return _fall(Scan(read(subject, control_models(subject)), seed=seed), labelled, seed)


def _fall(scan: Scan, labelled: ProbeDataset, seed: int) -> Measurement:
    """The fall in the subject, and in the control models where these were run."""
    layers = list(scan.inputs)
    first, second = halves(labelled.labels, labelled.groups, labelled.half_units, seed)
    choosing, testing = scan.take(first), scan.take(second)
    with one_thread():
        best, tested = _best(choosing.scores), testing.scores
        tested_models = testing.each_model(layers)
        falls = {
            kind: [
                test_scores[_best(scores)].score - test_scores[layers[-1]].score
                for scores, test_scores in zip(models, tested_models[kind], strict=True)
            ]
            for kind, models in choosing.each_model(layers).items()
        }
    last, dataset, units = tested[layers[-1]], testing.dataset, testing.dataset.units
    fall = tested[best].hits - last.hits
    interval, score = paired_interval(fall, units, seed=seed), float(fall.mean())
    return Measurement(
        score=score,
        low=interval.low,
        high=interval.high,
        n=len(fall),
        groups=fewest_units(units),
        unit="accuracy lost by the last layer",
        controls=tuple(over_others(kind, score, interval, fall_of) for kind, fall_of in falls.items()),
        p=max(
            sign_flip(fall, of_kind, seed=seed, alternative="greater") for of_kind in kinds_of(units).values()
        ),
        seed=seed,
        details={"layer": best, "best": tested[best].score, "last": last.score, "models": falls},
        tokens=sum(map(len, scan.inputs[best].tokens)),
        examples=some_examples(
            testing.inputs[best].texts, dataset.labels.tolist(), last.predictions.tolist(), last.hits > 0
        ),
        curves=(Curve("score", tuple(map(float, tested)), tuple(layer.score for layer in tested.values())),),
        units=count_units(units) if isinstance(units, Mapping) else {},
        floor=-1.0,
        unmeasured=() if falls else get_args(ControlKind),
    )


def _best(scores: Mapping[int, HeldOut]) -> int:
    """The layer with the highest score before the last; the first of ties."""
    *layers, _ = scores
    return max(layers, key=lambda layer: scores[layer].score)
