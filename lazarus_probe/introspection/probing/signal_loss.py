"""Does a model make something readable in its middle layers and lose it again before the end?

The best layer is the best of many, and falls short of itself on other prompts; so it is chosen on one half of the
prompts and the fall is measured on the other. What any network mixes away with depth, untrained and lesioned ones do
too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, check_leaks
from lazarus_probe.statistics import count_units, fewest_units, halves, paired_interval, sign_flip
from lazarus_probe.statistics.bounded import kinds_of
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.model_spread import over_others
from lazarus_probe.statistics.probes.held_out import HeldOut, Problem, held_out_models
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.batches import encode_all
from lazarus_probe.subject.control_models import ControlModel, control_models, faced

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def signal_loss(
    subject: Subject, labelled: ProbeDataset, *, store: ActivationStore | None = None, seed: int = 0
) -> Measurement:
    """How far the held-out accuracy of a probe falls from its best layer to the last one.

    The controls are `untrained`, `new_blocks` and `permuted_blocks`: the same fall in five models each, from the layer
    that is best there, and where that of a further one would lie.

    Args:
        subject: the model.
        labelled: prompts, classes and groups.
        store: activations shared with other claims.
        seed: of halves, folds and intervals.

    Raises:
        ValueError: a model of one layer, or prompts of which no two halves can be made.
    """
    if subject.num_layers < 2:
        raise ValueError(f"{subject.name} has one layer: there is none to lose a signal after")
    store = ActivationStore() if store is None else store
    tokens = encode_all(subject, labelled.prompts)
    texts = [each if isinstance(each, str) else subject.decode(each) for each in labelled.prompts]
    check_leaks(labelled, texts)
    parts = halves(
        labelled.labels, labelled.groups, labelled.kept_whole, seed
    )  # loads all that the limit is set on
    with one_thread():
        ((best, tested),) = _by_layer([subject], labelled, tokens, parts, store, seed)
        falls = {
            kind: [
                theirs[place].score - theirs[-1].score
                for place, theirs in _by_layer(models, labelled, tokens, parts, store, seed)
            ]
            for kind, models in faced(subject, control_models(subject)).items()
        }
    kept = labelled.take(parts[1])
    fall = tested[best].hits - tested[-1].hits
    interval, score = paired_interval(fall, kept.units, seed=seed), float(fall.mean())
    return Measurement(
        score=score,
        low=interval.low,
        high=interval.high,
        n=len(fall),
        groups=fewest_units(kept.units),
        unit="accuracy lost by the last layer",
        controls=tuple(over_others(kind, score, interval, fall_of) for kind, fall_of in falls.items()),
        p=max(
            sign_flip(fall, of_kind, seed=seed, alternative="greater")
            for of_kind in kinds_of(kept.units).values()
        ),
        seed=seed,
        details={
            "layer": best,
            "best": tested[best].score,
            "last": tested[-1].score,
            "models": falls,
        },
        tokens=sum(map(len, tokens)),
        examples=some_examples(
            [texts[row] for row in parts[1]],
            kept.labels.tolist(),
            tested[-1].predictions.tolist(),
            tested[-1].hits > 0,
        ),
        curves=(_curve("score", tested),),
        units=count_units(kept.units) if isinstance(kept.units, Mapping) else {},
        floor=-1.0,
    )


def _by_layer(
    models: Sequence[Subject | ControlModel],
    labelled: ProbeDataset,
    tokens: Sequence[Sequence[int]],
    parts: Sequence[NDArray[Any]],
    store: ActivationStore,
    seed: int,
) -> list[tuple[int, list[HeldOut]]]:
    """Of each model, the layer that is best on one half of the prompts, and the probe of every layer on the other."""
    origin = models[0].origin if isinstance(models[0], ControlModel) else models[0]
    sites = [resid_post(layer) for layer in range(origin.num_layers)]
    values = [store.get(model, tokens, sites, at=labelled.at) for model in models]

    def probed(rows: NDArray[Any], site: Site) -> list[HeldOut]:
        return held_out_models([_problem(each[site][rows], labelled.take(rows), seed) for each in values])

    choosing, testing = (
        [list(layers) for layers in zip(*(probed(rows, site) for site in sites), strict=True)]
        for rows in parts
    )
    return [
        (int(np.argmax([each.score for each in chosen[:-1]])), tested)
        for chosen, tested in zip(choosing, testing, strict=True)
    ]


def _problem(features: np.ndarray, labelled: ProbeDataset, seed: int) -> Problem:
    rows = features.reshape(len(labelled.prompts), -1)
    return Problem.of(rows, labelled.labels, labelled.groups, "classification", seed)


def _curve(name: str, by_layer: list[HeldOut]) -> Curve:
    return Curve(name, tuple(map(float, range(len(by_layer)))), tuple(each.score for each in by_layer))
