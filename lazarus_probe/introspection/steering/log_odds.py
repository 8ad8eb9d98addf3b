"""A gain in log-odds over prompts, compared with that of random directions: it has no bounds, so that no rate fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.model_spread import FEWEST, one_more
from lazarus_probe.statistics.student import Estimate, mean_t_interval

REACH = 100.0  # nats: log-odds of float32 probabilities hardly go further


def gained(
    unit: str, gains: NDArray[np.float64], prompts: Sequence[str], random: NDArray[np.float64], **kept: Any
) -> Measurement:
    """The mean gain in log-odds, with Student's interval over prompts, and that over its controls.

    The controls are `random_direction`, whose interval holds for one more direction of the kind, and `unsteered`, whose
    gain is 0 by definition.

    Args:
        unit: what is counted.
        gains: (P,) steered minus unsteered.
        prompts: (P,) texts; a prompt that is repeated counts once.
        random: (R, P) the gains under random directions.
        kept: fields of the measurement: p, details, examples, curves, damage, seed.
    """
    units = np.asarray(prompts)
    score = over_prompts(gains, units)
    over_random = over_prompts(gains - random.mean(axis=0), units)
    control = Control("random_direction", float(random.mean()), *map(float, over_random))
    if len(random) >= FEWEST:
        control = one_more(control, random.mean(axis=1).tolist())
    reach = max(REACH, *np.abs(score), *np.abs(gains))
    mean, low, high = map(float, score)
    return Measurement(
        mean,
        low,
        high,
        n=len(units),
        groups=len(np.unique(units)),
        unit=unit,
        controls=(control, Control("unsteered", 0.0, mean, low, high)),
        floor=-reach,
        ceiling=reach,
        **kept,
    )


def over_prompts(values: NDArray[np.float64], units: NDArray[Any]) -> Estimate:
    """The mean over prompts, each counted once, with Student's interval."""
    return mean_t_interval([values[units == prompt].mean() for prompt in np.unique(units)])
