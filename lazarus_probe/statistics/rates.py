"""A rate over prompts, compared with its controls on the same prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.bounded import Units, bounded_mean_interval, count_units, kinds_of
from lazarus_probe.statistics.controls import paired_control
from lazarus_probe.statistics.difference import difference_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.measurement.group_scores import group_scores
from lazarus_probe.statistics.model_spread import one_more
from lazarus_probe.statistics.rows import numbers, present_units


def rate(
    unit: str,
    score: ArrayLike,
    units: Units,
    controls: Mapping[str, ArrayLike],
    *,
    positive: Sequence[str] = (),
    bound: float = 1.0,
    low: float | None = None,
    seed: int = 0,
    **fields: Any,
) -> Measurement:
    """The mean of a score over prompts, and its gain over each control, paired by prompt.

    Args:
        unit: what is counted.
        score: (N,) whether each prompt counts, or a probability.
        units: (N,) the independent unit of each prompt, such as its pair of operands; or several kinds of them by
            name, as in `{"phrasing": ..., "family": ...}`, over all of which the rate then generalises.
        controls: by name, (N,) the same under the control; or (M, N) of M of one kind, such as untrained models or
            random directions, and the interval of the gain then holds for one more of that kind.
        positive: the controls of an absence, whose gain is theirs over the score.
        bound: how far a score and its control may differ: 1 for what lies in [0, 1], 2 for [-1, 1].
        low: the least score, if it is not `1 - bound`: -1 for a difference from what the controls differ from as well.
        seed: of the intervals.
        fields: further ones of the measurement: details, tokens, examples, curves, grids, damage.

    Raises:
        ValueError: as `paired_interval`; no prompts, a score, control or unit that is missing or not finite, lengths
            that differ, or fewer than three models of a kind.

    Example:
        >>> from itertools import combinations
        >>> from lazarus_probe import rate
        >>> from lazarus_probe.subject import greedy, untrained_models
        >>> operands = list(combinations(range(2, 8), 2))
        >>> def correct(model):
        ...     completions = greedy(model, [f"{a}*{b}=" for a, b in operands], max_tokens=3)
        ...     return [completion == str(a * b) for completion, (a, b) in zip(completions, operands, strict=True)]
        >>> controls = {"untrained": [correct(model) for model in untrained_models(subject, count=3)]}
        >>> measurement = rate("accuracy", correct(subject), [f"{a},{b}" for a, b in operands], controls)
        >>> measurement.score > 0.9, measurement.best_control.score
        (True, 0.0)
    """
    if not np.size(score):
        raise ValueError(f"no prompts to take the {unit} of; give at least two units of them")
    values, units = numbers(score, "score"), present_units(units)
    counts = count_units(units)
    for kind, names in kinds_of(units).items():
        if len(names) != len(values):
            name = f"units {kind!r}" if isinstance(units, Mapping) else "units"
            raise ValueError(f"{name} has {len(names)} names for {len(values)} prompts: give one a prompt")
    least = 1.0 - bound if low is None else low
    interval = bounded_mean_interval(values, units, least, 1.0, seed=seed)
    return Measurement(
        score=float(values.mean()),
        low=interval.low,
        high=interval.high,
        n=len(values),
        groups=min(counts.values()),
        unit=unit,
        controls=tuple(
            _control(name, values, reached, units, seed, positive=name in positive, bound=bound)
            for name, reached in controls.items()
        ),
        seed=seed,
        units=counts if isinstance(units, Mapping) else {},
        floor=least,
        group_scores=group_scores(values, units),
        **fields,
    )


def _control(
    name: str,
    score: NDArray[np.float64],
    reached: ArrayLike,
    units: Units,
    seed: int,
    *,
    positive: bool,
    bound: float,
) -> Control:
    paired = partial(paired_control, name, score, clusters=units, seed=seed, positive=positive, bound=bound)
    if np.ndim(reached) < 2:
        return paired(reached)
    models = np.stack([numbers(row, f"control {name!r}") for row in np.asarray(reached)])
    return one_more(paired(models.mean(axis=0)), models.mean(axis=1).tolist())


def unpaired_control(
    name: str,
    score: Measurement,
    scores: ArrayLike,
    units: Units,
    seed: int = 0,
    *,
    positive: bool = False,
) -> Control:
    """A control measured on other prompts than the score, and the score's gain over it.

    Args:
        name: of the control.
        score: measured, in [0, 1].
        scores: (N,) whether each of the control's prompts counts.
        units: (N,) their independent units, or several kinds of them by name.
        seed: of the interval.
        positive: whether it is the positive control of an absence; the gain is then the control's over the score.

    Raises:
        ValueError: as `bounded_mean_interval`; a row that is missing or not finite.
    """
    values = numbers(scores, f"control {name!r}")
    reached = float(values.mean())
    of_reached = bounded_mean_interval(values, present_units(units), 0, 1, seed=seed)
    of_score = Interval(score.low, score.high, of_reached.level)
    gain = (
        difference_interval(reached, of_reached, score.score, of_score)
        if positive
        else difference_interval(score.score, of_score, reached, of_reached)
    )
    gained = reached - score.score if positive else score.score - reached
    return Control(name, reached, gained, gain.low, gain.high)
