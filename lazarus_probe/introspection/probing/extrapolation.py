"""Does a linear readout of a number extrapolate beyond the range that it was trained on?

A model that looks answers up has no line on which the next one lies. But a readout may also fail beyond its range
because it fails everywhere, or because no readout does better: so it is compared with the same readout within its
range, and with the readout of another number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Measurement, some_examples
from lazarus_probe.statistics.probes.capped import capped_r2_interval, number_errors
from lazarus_probe.statistics.probes.out_of_fold import out_of_fold_regression
from lazarus_probe.statistics.threads import one_thread
from lazarus_probe.subject.batches import encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

PENALTIES = tuple(10.0**power for power in range(-2, 5))


@dataclass(frozen=True)
class Numbers:
    """Prompts with the number to read.

    Attributes:
        prompts: (N,) texts.
        numbers: (N,).
        groups: (N,) what a split keeps together, and the units of intervals.
        beyond: (N,) whether a prompt is beyond the training range.
    """

    prompts: Sequence[str]
    numbers: Sequence[float]
    groups: Sequence[str]
    beyond: Sequence[bool]


@dataclass(frozen=True)
class Readout:
    """The capped R2 of a readout with its interval.

    Attributes:
        score: capped R2 (`statistics.probes.capped`), against the mean of its prompts.
        interval: of the score.
        r2: the plain R2.
        predictions: (N,).
    """

    score: float
    interval: Interval
    r2: float
    predictions: NDArray[np.float64]


def extrapolate(features: NDArray[Any], dataset: Numbers, seed: int = 0) -> tuple[Readout, Readout]:
    """Readouts beyond the range and within it, both trained within; the second is scored on held-out groups.

    Args:
        features: (N, D).
        dataset: the N numbers.
        seed: of folds and intervals.

    Raises:
        ValueError: no prompts within or beyond the range, or too few groups within for folds.
    """
    from sklearn.linear_model import RidgeCV

    numbers, groups = np.asarray(dataset.numbers, float), np.asarray(dataset.groups)
    beyond = np.asarray(dataset.beyond)
    if beyond.all() or not beyond.any():
        raise ValueError(
            f"{int(beyond.sum())} of {len(beyond)} prompts are beyond the range; give some of either"
        )
    training = features[~beyond].astype(np.float64)
    center, spread = training.mean(axis=0), training.std(axis=0)
    scaled = (features - center) / np.where(spread > 0, spread, 1)
    with one_thread():
        model = RidgeCV(PENALTIES).fit(scaled[~beyond], numbers[~beyond])
        within = out_of_fold_regression(training, numbers[~beyond], groups[~beyond], seed=seed)
    return (
        _scored(model.predict(scaled[beyond]), numbers[beyond], groups[beyond], seed),
        _scored(within, numbers[~beyond], groups[~beyond], seed),
    )


def _scored(predictions: NDArray[Any], numbers: NDArray[Any], groups: NDArray[Any], seed: int) -> Readout:
    errors = number_errors(numbers, predictions, np.full(len(numbers), numbers.mean()))
    interval = capped_r2_interval(errors, groups, seed=seed)
    return Readout(errors.score, interval, errors.r2, np.asarray(predictions, dtype=np.float64))


def extrapolation(
    subject: Subject,
    dataset: Numbers,
    others: Mapping[str, Numbers],
    site: Site,
    *,
    store: ActivationStore | None = None,
    seed: int = 0,
) -> Measurement:
    """Capped R2 of the readout of a number beyond its range.

    For an absence; the controls are positive: `in_range`, the readout within its range on held-out groups; and the
    readout of each of `others` beyond its range.

    Args:
        subject: the model.
        dataset: the numbers.
        others: numbers of other prompts, by name.
        site: where they are read, at the last position.
        store: activations shared with other claims.
        seed: of folds and intervals.

    Raises:
        ValueError: as `extrapolate`.
    """
    store = ActivationStore() if store is None else store
    beyond, within = extrapolate(store.get(subject, dataset.prompts, [site])[site], dataset, seed)
    readouts = {"in_range": within}
    for name, control in others.items():
        readouts[name] = extrapolate(store.get(subject, control.prompts, [site])[site], control, seed)[0]
    rows = np.flatnonzero(dataset.beyond).tolist()
    numbers = [dataset.numbers[row] for row in rows]
    errors = np.abs(beyond.predictions - numbers)
    return Measurement(
        score=beyond.score,
        low=beyond.interval.low,
        high=beyond.interval.high,
        n=len(rows),
        groups=len({dataset.groups[row] for row in rows}),
        unit="capped R2 beyond the range",
        controls=tuple(_positive_control(name, readout, beyond) for name, readout in readouts.items()),
        seed=seed,
        details={
            "site": str(site),
            "mean_absolute_error": float(errors.mean()),
            "r2": beyond.r2,
            "r2_of_controls": {name: readout.r2 for name, readout in readouts.items()},
        },
        tokens=sum(map(len, encode_all(subject, dataset.prompts))),
        examples=some_examples(
            [dataset.prompts[row] for row in rows],
            [f"{number:g}" for number in numbers],
            [f"{number:.0f}" for number in beyond.predictions],
            errors < 0.1 * np.abs(numbers),
        ),
    )


def _positive_control(name: str, readout: Readout, beyond: Readout) -> Control:
    """The gain of a readout on other prompts over the score."""
    gain = difference_interval(readout.score, readout.interval, beyond.score, beyond.interval)
    return Control(name, readout.score, readout.score - beyond.score, gain.low, gain.high)
