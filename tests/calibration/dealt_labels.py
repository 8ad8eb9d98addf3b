"""Labels dealt to groups at random, whose rows share more than the label: a shuffle has to keep groups whole."""

from __future__ import annotations

import numpy as np
from draws import Draw, claim
from numpy.typing import NDArray

from lazarus_probe.statistics.clustered import proportion_interval
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.null import permutation_null
from lazarus_probe.statistics.probes.held_out import shuffled_control

GROUPS, EACH, WIDTH, SHUFFLES = 12, 6, 8, 199


def dealt(seed: int) -> tuple[NDArray[np.float64], NDArray[np.intp], NDArray[np.intp]]:
    """Features that are alike in a group, labels, and groups."""
    rng, groups = np.random.default_rng(seed), np.repeat(np.arange(GROUPS), EACH)
    features = rng.normal(size=(GROUPS, WIDTH))[groups] + 0.3 * rng.normal(size=(len(groups), WIDTH))
    return features, rng.permutation(np.arange(GROUPS) % 2)[groups], groups


def shuffled(kind: str, seed: int) -> Draw:
    """A claim that the labels are readable above chance, with shuffled labels for its only control."""
    features, labels, groups = dealt(seed)
    test = permutation_null(features, labels, groups, SHUFFLES, seed)
    interval = proportion_interval(
        np.arange(len(labels)) < round(test.observed * len(labels)), np.arange(len(labels))
    )
    return Draw(
        claim(kind, 0.01, "shuffled_labels"),
        Measurement(
            test.observed,
            min(interval.low, test.observed),
            max(interval.high, test.observed),
            len(labels),
            GROUPS,
            "held-out accuracy",
            (shuffled_control(test),),
            p=test.p,
        ),
    )


def by_row(
    codes: NDArray[np.intp], _groups: object, rng: np.random.Generator, draws: int, **_options: object
) -> NDArray[np.intp]:
    """Shuffles that take rows for independent."""
    return rng.permuted(np.tile(codes, (draws, 1)), axis=1)
