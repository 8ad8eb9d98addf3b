"""Does a model make something readable in its middle layers and lose it again before the end?

The best layer is the best of many, and falls short of itself on other prompts; so it is chosen on one half of the
prompts and the fall is measured on the other. What any network mixes away with depth, an untrained one does too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.held_out import HeldOut, Problem, held_out
from lazarus_probe.introspection.probe import Labelled
from lazarus_probe.introspection.untrained import over_untrained, untrained_models
from lazarus_probe.statistics import halves, paired_interval, sign_flip
from lazarus_probe.statistics.measurement import Curve, Measurement, some_examples
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.batches import encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def signal_loss(
    subject: Subject, labelled: Labelled, *, store: ActivationStore | None = None, seed: int = 0
) -> Measurement:
    """How far the held-out accuracy of a probe falls from its best layer to the last one.

    The control is `untrained`: the same fall in five untrained models, each from the layer that is best there, and
    where that of a further one would lie.

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
    parts = halves(
        labelled.labels, labelled.groups, labelled.units, seed
    )  # loads all that the limit is set on
    with one_thread():
        best, tested = _by_layer(subject, labelled, parts, store, seed)
        falls = []
        for model in untrained_models(subject):
            place, theirs = _by_layer(model, labelled, parts, ActivationStore(), seed)
            falls.append(theirs[place].score - theirs[-1].score)
    kept = labelled.take(parts[1])
    fall = tested[best].hits - tested[-1].hits
    interval, score = paired_interval(fall, kept.units, seed=seed), float(fall.mean())
    return Measurement(
        score=score,
        low=interval.low,
        high=interval.high,
        n=len(fall),
        groups=len(np.unique(kept.units)),
        unit="accuracy lost by the last layer",
        controls=(over_untrained(score, interval, falls),),
        p=sign_flip(fall, kept.units, seed=seed, alternative="greater"),
        seed=seed,
        details={
            "layer": best,
            "best": tested[best].score,
            "last": tested[-1].score,
            "untrained": falls,
        },
        tokens=sum(map(len, encode_all(subject, labelled.prompts))),
        examples=some_examples(
            [each if isinstance(each, str) else subject.decode(each) for each in kept.prompts],
            kept.labels.tolist(),
            tested[-1].predictions.tolist(),
            tested[-1].hits > 0,
        ),
        curves=(_curve("score", tested),),
    )


def _by_layer(
    model: Subject,
    labelled: Labelled,
    parts: Sequence[NDArray[Any]],
    store: ActivationStore,
    seed: int,
) -> tuple[int, list[HeldOut]]:
    """The layer that is best on one half of the prompts, and the probe of every layer on the other."""
    sites = [resid_post(layer) for layer in range(model.num_layers)]
    values = store.get(model, labelled.prompts, sites, at=labelled.at)
    found = [
        [held_out(_problem(values[site][rows], labelled.take(rows), seed)) for site in sites]
        for rows in parts
    ]
    choosing, testing = found
    return int(np.argmax([each.score for each in choosing[:-1]])), testing


def _problem(features: np.ndarray, labelled: Labelled, seed: int) -> Problem:
    rows = features.reshape(len(labelled.prompts), -1)
    return Problem.of(rows, labelled.labels, labelled.groups, "classification", seed)


def _curve(name: str, by_layer: list[HeldOut]) -> Curve:
    return Curve(name, tuple(map(float, range(len(by_layer)))), tuple(each.score for each in by_layer))
