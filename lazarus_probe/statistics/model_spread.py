"""Several models as one control: a score is compared with where a further such model would fall.

Models with random weights differ from each other, often by more than the prompts of one of them can show: the R2 of one
untrained model went from .10 to .71 by its seed alone. So the interval of a gain over them holds for one more model of
their kind, estimated from a handful.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control
from lazarus_probe.statistics.student import next_above, prediction_reach

FEWEST = 3  # models whose spread says something


def over_others(name: str, score: float, interval: Interval, others: Sequence[float]) -> Control:
    """The control of several models whose scores are not of the same rows: the score's gain over their mean.

    Args:
        name: of the control.
        score: of the model.
        interval: of that score.
        others: the same score of each control model.

    Raises:
        ValueError: fewer than three models.
    """
    mean = float(np.mean(others)) if len(others) else 0.0
    gain = Control(name, mean, score - mean, interval.low - mean, interval.high - mean)
    return one_more(gain, others, interval.level)


def over_untrained(score: float, interval: Interval, others: Sequence[float]) -> Control:
    """The control `untrained`, as `over_others` makes it."""
    return over_others("untrained", score, interval, others)


def over_best_layer(score: float, interval: Interval, untrained: NDArray[np.float64]) -> Control:
    """The control `untrained` of a score at one of several layers: what untrained models reach at their best layer.

    Args:
        score: of the model, at the layer.
        interval: of that score.
        untrained: (T, K) the same score of T untrained models at K layers.
    """
    return over_untrained(score, interval, untrained.max(axis=1).tolist())


def best_layer_reach(untrained: NDArray[np.float64]) -> float | None:
    """What the best layer of one more untrained model may reach, from (T, K) of T at K layers; None without models."""
    return next_above(untrained.max(axis=1)) if len(untrained) else None


def one_more(gain: Control, others: Sequence[float], level: float = 0.95) -> Control:
    """A gain over the mean of several models, whose interval holds for one more model of their kind.

    The gain's own interval is joined, by square-and-add, with the prediction interval of a further model around the
    mean of these: Student's t on their number less one. With a gain above 0 the score is beyond what random
    weights reach in general, not only these.

    Args:
        gain: over the mean of the models, with the interval of the rows.
        others: the score of each model.
        level: of the gain's interval.

    Raises:
        ValueError: fewer than three models.
    """
    reach = model_spread(others, level)
    rows, models = Interval(gain.low, gain.high, level), Interval(-reach, reach, level)
    joined = difference_interval(gain.gain, rows, 0.0, models)
    return Control(gain.name, gain.score, gain.gain, joined.low, joined.high, reach)


def model_spread(scores: Sequence[float], level: float = 0.95) -> float:
    """How far from the mean of several models a further one may fall, see `prediction_reach`.

    Raises:
        ValueError: fewer than three models.
    """
    if len(scores) < FEWEST:
        raise ValueError(
            f"{len(scores)} untrained models; give at least {FEWEST}, for their spread to be known"
        )
    return prediction_reach(scores, level)
