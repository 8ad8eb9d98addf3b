"""Several untrained models as one control.

Untrained models differ from each other, often by more than the prompts that one of them is asked can show. So a score
is held against where a further untrained model would fall, as a handful of them tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import sqrt
from typing import TYPE_CHECKING

import numpy as np

from lazarus_probe.statistics import Interval
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.measurement import Control

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

COUNT = 5
FIRST_SEED = 1000


def untrained_models(subject: Subject, count: int = COUNT) -> Iterator[Subject]:
    """Untrained models of the subject's architecture, each made when its turn comes."""
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        yield subject.untrained(seed)


def over_untrained(score: float, interval: Interval, others: Sequence[float]) -> Control:
    """The control `untrained`: the score's gain over the mean of several untrained models.

    The gain's interval adds the score's own to the prediction interval of one further untrained model (Student's t on
    the models): with a gain above 0, the score is beyond what chance weights come to, not only what these came to.

    Args:
        score: of the model.
        interval: of that score.
        others: the same score of each untrained model.

    Raises:
        ValueError: fewer than three untrained models.
    """
    from scipy.stats import t

    if len(others) < 3:
        raise ValueError(f"{len(others)} untrained models; give at least 3, for their spread to be known")
    count, mean = len(others), float(np.mean(others))
    reach = (
        float(t.ppf((1 + interval.level) / 2, count - 1))
        * float(np.std(others, ddof=1))
        * sqrt(1 + 1 / count)
    )
    gain = difference_interval(score, interval, mean, Interval(mean - reach, mean + reach, interval.level))
    return Control("untrained", mean, score - mean, gain.low, gain.high)
