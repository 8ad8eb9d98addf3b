"""A rate over prompts beside what its controls reach on the very same prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics import Interval, paired_interval, proportion_interval
from lazarus_probe.statistics.measurement import Control, Measurement


def rate(
    unit: str,
    score: ArrayLike,
    units: ArrayLike,
    controls: Mapping[str, ArrayLike],
    *,
    positive: Sequence[str] = (),
    spread: float = 1.0,
    seed: int = 0,
    **kept: Any,
) -> Measurement:
    """The mean of a score over prompts, and its gain over each control, paired by prompt.

    Args:
        unit: what is counted.
        score: (N,) whether each prompt counts, or a probability.
        units: (N,) the independent unit of each prompt.
        controls: by name, (N,) the same under the control.
        positive: the controls of an absence, whose gain is theirs over the score.
        spread: how far a score and its control may differ: 1 for what lies in [0, 1], 2 for [-1, 1].
        seed: of the intervals.
        kept: fields of the measurement: details, tokens, examples, curves, grids.

    Raises:
        ValueError: as `paired_interval`; no prompts.
    """
    values, names = np.asarray(score, dtype=np.float64), np.asarray(units)
    if not len(values):
        raise ValueError(f"no prompts to take the {unit} of; give at least two units of them")
    whole = np.isin(values, (0.0, 1.0)).all()
    interval = (
        proportion_interval(values, names, seed=seed) if whole else _of_mean(values, names, spread, seed)
    )
    return Measurement(
        score=float(values.mean()),
        low=interval.low,
        high=interval.high,
        n=len(values),
        groups=len(np.unique(names)),
        unit=unit,
        controls=tuple(
            _control(name, values, other, names, spread, -1 if name in positive else 1, seed)
            for name, other in controls.items()
        ),
        seed=seed,
        **kept,
    )


def _control(
    name: str,
    score: NDArray[np.float64],
    other: ArrayLike,
    units: NDArray[Any],
    spread: float,
    sign: int,
    seed: int,
) -> Control:
    reached = np.asarray(other, dtype=np.float64)
    gain = sign * (score - reached)
    interval = _of_mean(gain, units, spread, seed)
    return Control(name, float(reached.mean()), float(gain.mean()), interval.low, interval.high)


def _of_mean(values: NDArray[np.float64], units: NDArray[Any], spread: float, seed: int) -> Interval:
    interval = paired_interval(values / spread, units, seed=seed)
    return Interval(spread * interval.low, spread * interval.high, interval.level)
