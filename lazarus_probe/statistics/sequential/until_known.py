"""A rate over prompts that are run only until the claim is decided."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.bounded import Units, kinds_of
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.statistics.model_spread import one_more
from lazarus_probe.statistics.rates import rate
from lazarus_probe.statistics.rows import numbers, present_units
from lazarus_probe.statistics.sequential.mean_sequence import MeanSequence

Rows = NDArray[np.intp]
# Of rows (R,) their scores (R,), and by name those under each control, (R,) or (M, R) of M of one kind.
RowScores = Callable[[Rows], tuple[ArrayLike, Mapping[str, ArrayLike]]]
Costly = Mapping[str, Callable[[Rows], ArrayLike]]


def rate_until_known(
    unit: str,
    units: Units,
    measure: RowScores,
    known: Callable[[Measurement], bool] | None,
    *,
    costly: Costly | None = None,
    describe: Callable[[Rows], Mapping[str, Any]] = lambda _: {},
    together: int = 8,
    positive: Sequence[str] = (),
    bound: float = 1.0,
    low: float | None = None,
    seed: int = 0,
    **fields: Any,
) -> Measurement:
    """As `rate`, unit by unit in a random order, until the claim is decided: no more prompts are run than that needs.

    Intervals are those of `MeanSequence`, which hold at every look, so one may stop at any. They are wider than those
    of `rate` on the same prompts; a clear score needs a fraction of the prompts, and one near its threshold stays
    unknown on all of them more often.

    Args:
        unit: what is counted.
        units: (N,) the independent unit of each prompt, of one kind; a unit's rows count as one, by their mean.
        measure: of rows (R,) their scores (R,) and, by name, those of each control, (R,) or (M, R) of M of one kind.
        known: whether the measurement so far is enough, as `evidence.is_known`; None measures all prompts as `rate`.
        costly: by name, what scores rows (R,) under a control for which other models are run. They begin once the claim
            would be decided if these controls were at `low`, with all rows so far at once.
        describe: of the rows that were measured in the end, further fields of the measurement: tokens, examples.
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
    costly = costly or {}
    if known is None:
        rows = np.arange(len(next(iter(kinds_of(units).values()))))
        scores, controls = _with(measure, costly)(rows)
        fields |= describe(rows)
        return rate(
            unit, scores, units, controls, positive=positive, bound=bound, low=low, seed=seed, **fields
        )
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
    details = {**fields.pop("details", {}), "of_units": len(distinct)}
    drawn = _Drawn(least, bound, frozenset(positive))
    order = np.random.default_rng(seed).permutation(len(distinct))
    members = [np.flatnonzero(index == number) for number in order]

    def so_far(assumed: Sequence[str] = (), unmeasured: tuple[str, ...] = ()) -> Measurement:
        controls = (*drawn.controls(), *(drawn.at_least(name) for name in assumed))
        return Measurement(
            *drawn.score(),
            n=sum(map(len, members[: len(drawn.scores)])),
            groups=len(drawn.scores),
            unit=unit,
            controls=controls,
            seed=seed,
            floor=least,
            details=details,
            unmeasured=unmeasured,
            **fields,
        )

    pending = tuple(costly)
    for start in range(0, len(order), together):
        drawn.add(measure, members[start : start + together])
        if pending and not known(so_far(unmeasured=pending)):
            last = start + together >= len(order)
            if not (last or known(so_far(assumed=pending))):
                continue
            drawn.add_controls(costly, members[: start + together])
            measure, pending = _with(measure, costly), ()
        if known(so_far(unmeasured=pending)):
            break
    return replace(so_far(unmeasured=pending), **describe(np.concatenate(members[: len(drawn.scores)])))


def _with(measure: RowScores, costly: Costly) -> RowScores:
    """What measures rows with the costly controls too."""

    def both(rows: Rows) -> tuple[ArrayLike, Mapping[str, ArrayLike]]:
        scores, controls = measure(rows)
        return scores, {**controls, **{name: score(rows) for name, score in costly.items()}}

    return both


class _Drawn:
    """The units drawn so far: the score of each, its score under each control, and the sequences of both."""

    def __init__(self, least: float, bound: float, positive: frozenset[str]) -> None:
        self.least, self.bound, self.positive = least, bound, positive
        self.scores: list[float] = []
        self._of_score = MeanSequence(least, 1.0)
        self._of_gains: dict[str, MeanSequence] = {}
        self._reached: dict[str, list[NDArray[np.float64]]] = {}

    def add(self, measure: RowScores, members: Sequence[Rows]) -> None:
        """Measure the rows of further units."""
        before = len(self.scores)
        values, controls = _by_unit(measure(np.concatenate(members)), members)
        for score in values.tolist():
            self.scores.append(score)
            self._of_score.add(score)
        for name, of_models in controls.items():
            self._add_control(name, of_models, self.scores[before:])

    def add_controls(self, costly: Costly, members: Sequence[Rows]) -> None:
        """Measure further controls on the rows of all units so far."""
        rows, scores = np.concatenate(members), np.repeat(self.scores, [len(of_unit) for of_unit in members])
        _, controls = _by_unit((scores, {name: score(rows) for name, score in costly.items()}), members)
        for name, of_models in controls.items():
            self._add_control(name, of_models, self.scores)

    def _add_control(self, name: str, of_models: NDArray[np.float64], scores: Sequence[float]) -> None:
        sequence = self._of_gains.setdefault(name, MeanSequence(-self.bound, self.bound))
        for row, score in zip(of_models, scores, strict=True):
            self._reached.setdefault(name, []).append(row)
            gain = score - float(row.mean())
            sequence.add(-gain if name in self.positive else gain)

    def score(self) -> tuple[float, float, float]:
        """The mean score and its interval."""
        mean = float(np.mean(self.scores))
        return mean, min(self._of_score.low, mean), max(self._of_score.high, mean)

    def controls(self) -> list[Control]:
        """Every control measured so far."""
        return [self._control(name, np.stack(rows)) for name, rows in self._reached.items()]

    def _control(self, name: str, reached: NDArray[np.float64]) -> Control:
        models, sequence = reached.mean(axis=0), self._of_gains[name]
        gain = (float(np.mean(self.scores)) - float(models.mean())) * (-1 if name in self.positive else 1)
        control = Control(name, float(models.mean()), gain, min(sequence.low, gain), max(sequence.high, gain))
        return one_more(control, models.tolist()) if len(models) > 1 else control

    def at_least(self, name: str) -> Control:
        """A control as if it reached nothing at all, and the score gained all that it is above that."""
        mean, low, high = self.score()
        return Control(name, self.least, mean - self.least, low - self.least, high - self.least)


def _by_unit(
    measured: tuple[ArrayLike, Mapping[str, ArrayLike]], members: Sequence[Rows]
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
