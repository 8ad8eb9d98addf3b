"""Does a linear readout of a number hold beyond the numbers that it was taught?

A model that looks answers up has no line along which the next one lies. But a readout may fail beyond its range because
it fails everywhere, or because no readout could do better: so it is compared with the same readout within its range,
and with the readout of another number.
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
    """Prompts with the number to be read.

    Attributes:
        prompts: (N,) texts.
        numbers: (N,).
        groups: (N,) what a split keeps together, and intervals rest on.
        beyond: (N,) whether a prompt is beyond the range that is taught.
    """

    prompts: Sequence[str]
    numbers: Sequence[float]
    groups: Sequence[str]
    beyond: Sequence[bool]


@dataclass(frozen=True)
class Readout:
    """The capped R2 of a readout on some prompts, with its interval.

    Attributes:
        score: capped R2 (`statistics.probes.capped`), against the mean of the prompts it is of.
        interval: of it.
        r2: the plain R2.
        predictions: (N,).
    """

    score: float
    interval: Interval
    r2: float
    predictions: NDArray[np.float64]


def extrapolate(features: NDArray[Any], dataset: Numbers, seed: int = 0) -> tuple[Readout, Readout]:
    """Readouts beyond the range and within it, both taught within: the second one on groups held out.

    Args:
        features: (N, D).
        dataset: the N numbers.
        seed: of folds and intervals.

    Raises:
        ValueError: no prompts within or beyond the range, or too few groups within for folds.
    """
    from sklearn.linear_model import RidgeCV

    numbers, groups, beyond = (
        np.asarray(dataset.numbers, float),
        np.asarray(dataset.groups),
        np.asarray(dataset.beyond),
    )
    if beyond.all() or not beyond.any():
        raise ValueError(
            f"{int(beyond.sum())} of {len(beyond)} prompts are beyond the range; give some of either"
        )
    taught = features[~beyond].astype(np.float64)
    center, spread = taught.mean(axis=0), taught.std(axis=0)
    scaled = (features - center) / np.where(spread > 0, spread, 1)
    with one_thread():
        model = RidgeCV(PENALTIES).fit(scaled[~beyond], numbers[~beyond])
        within = out_of_fold_regression(taught, numbers[~beyond], groups[~beyond], seed=seed)
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

    For an absence; the controls are positive: `in_range`, the readout within its range, on groups held out; and by
    name, the readout beyond the range of each of `others`.

    Args:
        subject: the model.
        dataset: the numbers.
        others: numbers of other prompts.
        site: where they are read, at the last position.
        store: activations shared with other claims.
        seed: of folds and intervals.

    Raises:
        ValueError: as `extrapolate`.
    """
    store = ActivationStore() if store is None else store
    out, within = extrapolate(store.get(subject, dataset.prompts, [site])[site], dataset, seed)
    reached = {"in_range": within}
    for name, other in others.items():
        reached[name] = extrapolate(store.get(subject, other.prompts, [site])[site], other, seed)[0]
    rows = np.flatnonzero(dataset.beyond).tolist()
    numbers = [dataset.numbers[row] for row in rows]
    close = np.abs(out.predictions - numbers) < 0.1 * np.abs(numbers)
    return Measurement(
        score=out.score,
        low=out.interval.low,
        high=out.interval.high,
        n=len(rows),
        groups=len({dataset.groups[row] for row in rows}),
        unit="capped R2 beyond the range",
        controls=tuple(_over(name, each, out) for name, each in reached.items()),
        seed=seed,
        details={
            "site": str(site),
            "mean_absolute_error": float(np.abs(out.predictions - numbers).mean()),
            "r2": out.r2,
            "r2_of_controls": {name: each.r2 for name, each in reached.items()},
        },
        tokens=sum(map(len, encode_all(subject, dataset.prompts))),
        examples=some_examples(
            [dataset.prompts[row] for row in rows],
            [f"{number:g}" for number in numbers],
            [f"{number:.0f}" for number in out.predictions],
            close,
        ),
    )


def _over(name: str, other: Readout, out: Readout) -> Control:
    """A positive control's gain over the score; the two are of different prompts."""
    gain = difference_interval(other.score, other.interval, out.score, out.interval)
    return Control(name, other.score, other.score - out.score, gain.low, gain.high)
