"""A rate over prompts beside what its controls reach on the very same prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from lazarus_probe.statistics import bounded_mean_interval, count_units, paired_control
from lazarus_probe.statistics.bounded import Units
from lazarus_probe.statistics.measurement import Measurement


def rate(
    unit: str,
    score: ArrayLike,
    units: Units,
    controls: Mapping[str, ArrayLike],
    *,
    positive: Sequence[str] = (),
    bound: float = 1.0,
    seed: int = 0,
    **kept: Any,
) -> Measurement:
    """The mean of a score over prompts, and its gain over each control, paired by prompt.

    Args:
        unit: what is counted.
        score: (N,) whether each prompt counts, or a probability.
        units: (N,) the independent unit of each prompt; or several kinds of them by name, as in
            `{"phrasing": ..., "family": ...}`, over all of which the rate then generalises.
        controls: by name, (N,) the same under the control.
        positive: the controls of an absence, whose gain is theirs over the score.
        bound: how far a score and its control may differ: 1 for what lies in [0, 1], 2 for [-1, 1].
        seed: of the intervals.
        kept: fields of the measurement: details, tokens, examples, curves, grids.

    Raises:
        ValueError: as `paired_interval`; no prompts.
    """
    values, counts = np.asarray(score, dtype=np.float64), count_units(units)
    if not len(values):
        raise ValueError(f"no prompts to take the {unit} of; give at least two units of them")
    interval = bounded_mean_interval(values, units, 1.0 - bound, 1.0, seed=seed)
    return Measurement(
        score=float(values.mean()),
        low=interval.low,
        high=interval.high,
        n=len(values),
        groups=min(counts.values()),
        unit=unit,
        controls=tuple(
            paired_control(name, values, other, units, seed, positive=name in positive, bound=bound)
            for name, other in controls.items()
        ),
        seed=seed,
        units=counts if isinstance(units, Mapping) else {},
        floor=1.0 - bound,
        **kept,
    )
