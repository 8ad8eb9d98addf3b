"""A rate over prompts, compared with its controls on the same prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.betting import MeanSequence
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


def rate_until_known(
    unit: str,
    units: ArrayLike,
    measure: Callable[[NDArray[np.intp]], tuple[ArrayLike, Mapping[str, ArrayLike]]],
    known: Callable[[Measurement], bool],
    *,
    together: int = 8,
    positive: Sequence[str] = (),
    bound: float = 1.0,
    low: float | None = None,
    seed: int = 0,
    **fields: Any,
) -> Measurement:
    """As `rate`, unit by unit in a random order, until the claim is decided: no more prompts are run than that needs.

    Intervals are those of `betting.MeanSequence`, which hold at every look, so one may stop at any. They are wider than
    those of `rate` on the same prompts; a clear score needs a fraction of the prompts, and one near its threshold
    stays unknown on all of them more often.

    Args:
        unit: what is counted.
        units: (N,) the independent unit of each prompt, of one kind; a unit's rows count as one, by their mean.
        measure: of rows (R,) their scores (R,) and, by name, those of each control, (R,) or (M, R) of M of one kind.
        known: whether the measurement so far is enough, as `evidence.is_known`.
        together: units measured between two looks.
        positive: as in `rate`, as are `bound`, `low` and `fields`.
        bound: how far a score and its control may differ.
        low: the least score.
        seed: of the order.
        fields: further ones of the measurement.

    Raises:
        ValueError: as `rate`; units of several kinds, or fewer than two.

    Example:
        >>> from pathlib import Path
        >>> from lazarus_probe import Evidence
        >>> from lazarus_probe.claims import rate_until_known, read_claims
        >>> from lazarus_probe.subject import greedy
        >>> evidence = Evidence(read_claims(Path("expectations"))["answers-products"], seed=0)
        >>> products = [(a, b) for a in range(2, 10) for b in range(a, 10)]
        >>> def answered(rows):
        ...     completions = greedy(subject, [f"{a}*{b}=" for a, b in (products[row] for row in rows)], max_tokens=3)
        ...     right = [text == str(a * b) for text, (a, b) in zip(completions, (products[row] for row in rows))]
        ...     return right, {"untrained": [[0] * len(rows)] * 3}
        >>> measurement = rate_until_known("accuracy", range(len(products)), answered, evidence.is_known)
        >>> measurement.groups, len(products), evidence.is_known(measurement)
        (24, 36, True)
    """
    if isinstance(units, Mapping):
        raise ValueError(
            f"units are of {len(units)} kinds: give one kind, or measure all prompts with `rate`"
        )
    names = np.asarray(present_units(units))
    distinct, index = np.unique(names, return_inverse=True)
    if len(distinct) < 2 or together < 1:
        raise ValueError(
            f"{len(distinct)} units, {together} at a time: give at least two units, and one at a time"
        )
    least = 1.0 - bound if low is None else low
    of_score, of_gains = MeanSequence(least, 1.0), dict[str, MeanSequence]()
    scores, reached = list[float](), dict[str, list[NDArray[np.float64]]]()
    order = np.random.default_rng(seed).permutation(len(distinct))
    for start in range(0, len(order), together):
        members = [np.flatnonzero(index == number) for number in order[start : start + together]]
        values, controls = _by_unit(measure(np.concatenate(members)), members)
        for number, score in enumerate(values):
            scores.append(float(score))
            of_score.add(scores[-1])
            for name, of_models in controls.items():
                reached.setdefault(name, []).append(of_models[number])
                gain = scores[-1] - float(of_models[number].mean())
                sequence = of_gains.setdefault(name, MeanSequence(-bound, bound))
                sequence.add(-gain if name in positive else gain)
        so_far = Measurement(
            score=float(np.mean(scores)),
            low=min(of_score.low, float(np.mean(scores))),
            high=max(of_score.high, float(np.mean(scores))),
            n=int(np.isin(index, order[: len(scores)]).sum()),
            groups=len(scores),
            unit=unit,
            controls=tuple(
                _control_so_far(name, scores, rows, of_gains[name], positive=name in positive)
                for name, rows in reached.items()
            ),
            seed=seed,
            floor=least,
            **{**fields, "details": {**fields.get("details", {}), "of_units": len(distinct)}},
        )
        if known(so_far):
            break
    return so_far


def _by_unit(
    measured: tuple[ArrayLike, Mapping[str, ArrayLike]], members: Sequence[NDArray[np.intp]]
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """The mean score of each of U units (U,), and by control those of each of its M models (U, M)."""
    values, controls = numbers(measured[0], "score"), measured[1]
    ends = np.cumsum([len(rows) for rows in members])
    if values.shape != (ends[-1],):
        raise ValueError(f"the score has shape {values.shape} for {ends[-1]} rows: give one number a row")

    def means(row: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.array([part.mean() for part in np.split(row, ends[:-1])])

    by_control = {}
    for name, scores in controls.items():
        models = np.atleast_2d(
            [numbers(row, f"control {name!r}") for row in np.atleast_2d(np.asarray(scores))]
        )
        if models.shape[1:] != values.shape:
            raise ValueError(
                f"control {name!r} has shape {models.shape} for {ends[-1]} rows: score the same rows"
            )
        by_control[name] = np.stack([means(row) for row in models], axis=1)
    return means(values), by_control


def _control_so_far(
    name: str,
    scores: Sequence[float],
    reached: Sequence[NDArray[np.float64]],
    sequence: MeanSequence,
    *,
    positive: bool,
) -> Control:
    models = np.stack(list(reached)).mean(axis=0)
    gain = float(np.mean(scores) - models.mean()) * (-1 if positive else 1)
    control = Control(name, float(models.mean()), gain, min(sequence.low, gain), max(sequence.high, gain))
    return one_more(control, models.tolist()) if len(models) > 1 else control
