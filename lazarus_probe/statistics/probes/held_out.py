"""A probe's predictions of held-out groups: one form for classes and for numbers.

A score is a ratio of two sums over rows: right answers over answers, or the error that a probe takes away from the
mean's over the mean's, where no row's error counts for more than one standard deviation (`statistics.probes.capped`).
Results are cached by the content of a problem, as the layers of one claim share their controls.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.bounded import Units
from lazarus_probe.statistics.clustered import proportion_interval
from lazarus_probe.statistics.controls import majority_predictions, mean_predictions, paired_control
from lazarus_probe.statistics.folds import Kind
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Growth
from lazarus_probe.statistics.model_spread import one_more
from lazarus_probe.statistics.null import LEVEL, PermutationTest, permutation_null
from lazarus_probe.statistics.probes.capped import (
    NumberErrors,
    capped_gain_interval,
    capped_r2_interval,
    number_errors,
)
from lazarus_probe.statistics.probes.codelength import Codelength, codelength
from lazarus_probe.statistics.probes.control_task import memorable
from lazarus_probe.statistics.probes.out_of_fold import TOLERANCE, out_of_fold

DRAWS = 1000
# Splits that a learning curve is averaged over. On 256 rows of four classes the half width of its interval is .065 with
# one split, .04 with three, .035 with six.
REPEATS = 6
# Results remembered, the oldest dropped first; the features that they came from are not.
REMEMBERED = 2048
# Where the logistic regressions of control models stop. They start from a ridge, which is nearly as good: of 20
# untrained organisms the accuracy moved by .003 at most, at a third of the time.
EARLY = 1e-2
_RESULTS: dict[tuple[Any, ...], Any] = {}
T = TypeVar("T")
P = ParamSpec("P")


@dataclass(frozen=True)
class HeldOut:
    """Out-of-fold predictions and what each adds to the score.

    Attributes:
        predictions: (N,) classes or numbers; (N, K) of several models.
        hits: (N,) 1 where right; or the capped squared error taken away from the mean's.
        of: (N,) 1; or the capped squared error of the mean.
        errors: of numbers, what both are made of.
        penalties: (folds,) of the probes, where they were chosen.
    """

    predictions: NDArray[Any]
    hits: NDArray[np.float64]
    of: NDArray[np.float64]
    errors: NumberErrors | None = None
    penalties: tuple[float, ...] = ()

    @classmethod
    def of_classes(cls, predictions: NDArray[Any], labels: NDArray[Any]) -> HeldOut:
        """The predicted classes (N,) of rows, compared with their labels (N,)."""
        correct = (predictions == labels).astype(np.float64)
        return cls(predictions, correct, np.ones(len(correct)))

    @property
    def score(self) -> float:
        """Accuracy, or capped R2."""
        return float(self.hits.sum() / self.of.sum())

    def take(self, rows: NDArray[Any]) -> HeldOut:
        """Some of the rows."""
        if self.errors is not None:
            return _of_numbers(self.predictions[rows], self.errors.take(rows))
        return HeldOut(self.predictions[rows], self.hits[rows], self.of[rows])


@dataclass(frozen=True)
class Problem:
    """A probe to fit, identified by its content.

    Attributes:
        digest: of the arrays.
        kind: whether labels are classes or numbers.
        seed: of the folds.
        features: (N, D).
        labels: (N,).
        groups: (N,).
        half: whether to train on half of the training groups.
        penalties: (folds,) those to take instead of choosing; such a fit stops early.
    """

    digest: bytes
    kind: Kind
    seed: int
    features: NDArray[Any] = field(compare=False)
    labels: NDArray[Any] = field(compare=False)
    groups: NDArray[Any] = field(compare=False)
    half: bool = False
    penalties: tuple[float, ...] | None = None

    @property
    def key(self) -> tuple[Any, ...]:
        """All that determines what is made of it, without the arrays."""
        return self.digest, self.kind, self.seed, self.half, self.penalties

    @classmethod
    def of(
        cls, features: NDArray[Any], labels: NDArray[Any], groups: NDArray[Any], kind: Kind, seed: int
    ) -> Problem:
        """The problem of these arrays."""
        digest = hashlib.sha256()
        for array in (features, labels, groups):
            digest.update(f"{array.dtype} {array.shape}".encode() + np.ascontiguousarray(array).tobytes())
        return cls(digest.digest(), kind, seed, features, labels, groups)


def _remembered(fit: Callable[Concatenate[Problem, P], T]) -> Callable[Concatenate[Problem, P], T]:
    """Remember what a function made of a problem, by the problem's content."""

    @wraps(fit)
    def look_up(problem: Problem, /, *args: P.args, **options: P.kwargs) -> T:
        key = (fit.__name__, *problem.key, args, *sorted(options.items()))
        if key not in _RESULTS:
            result = fit(problem, *args, **options)
            while len(_RESULTS) >= REMEMBERED:
                del _RESULTS[next(iter(_RESULTS))]
            _RESULTS[key] = result
        remembered: T = _RESULTS[key]
        return remembered

    return look_up


@_remembered
def held_out(problem: Problem) -> HeldOut:
    """The probe of a problem, fitted out of fold.

    Raises:
        ValueError: as `out_of_fold`.
    """
    fit = out_of_fold(
        problem.features,
        problem.labels,
        problem.groups,
        problem.kind,
        seed=problem.seed,
        penalties=problem.penalties,
        half=problem.half,
        tolerance=TOLERANCE if problem.penalties is None else EARLY,
    )
    return replace(_scored(fit.predictions, problem), penalties=fit.penalties)


def held_out_models(problems: Sequence[Problem]) -> list[HeldOut]:
    """The probe of the same labels in each of several control models; the first chooses the penalties of all.

    The models are of one kind and differ by chance alone, and choosing takes longer than fitting.
    """
    first = held_out(problems[0])
    return [first, *(held_out(replace(problem, penalties=first.penalties)) for problem in problems[1:])]


def mean_of(models: Sequence[HeldOut]) -> HeldOut:
    """Several models as one: each row counts with its mean over them, so that the score is the mean of theirs."""
    predictions = np.stack([model.predictions for model in models], axis=1)
    errors = [model.errors.errors for model in models if model.errors is not None]
    if models[0].errors is not None:
        return _of_numbers(predictions, replace(models[0].errors, errors=np.concatenate(errors, axis=1)))
    return HeldOut(
        predictions,
        np.mean([model.hits for model in models], axis=0),
        np.mean([model.of for model in models], axis=0),
    )


def constant(problem: Problem) -> HeldOut:
    """The best constant answer: the majority class, or the mean of the training side."""
    if problem.kind == "classification":
        return _scored(majority_predictions(problem.labels), problem)
    return _scored(mean_predictions(problem.labels, problem.groups, seed=problem.seed), problem)


@_remembered
def null_of(problem: Problem, draws: int | None = None, *, keep_blocks: bool = False) -> PermutationTest:
    """The problem's probe on shuffled labels; `DRAWS` shuffles, unless said otherwise."""
    draws = DRAWS if draws is None else draws
    return permutation_null(
        problem.features,
        problem.labels,
        problem.groups,
        draws,
        problem.seed,
        problem.kind,
        keep_blocks=keep_blocks,
    )


@_remembered
def code_of(problem: Problem) -> Codelength:
    """The online code of a problem's labels."""
    return codelength(problem.features, problem.labels, problem.groups, problem.seed)


@_remembered
def column_of(problem: Problem) -> tuple[int, float] | None:
    """The column of the problem that is best to memorise by, and how much of the score that could explain."""
    return memorable(problem.features, problem.labels, problem.groups, problem.kind)


def interval_of(score: HeldOut, units: Units, kind: Kind, seed: int) -> Interval:
    """The interval of a score, over its independent units (N,), or over several kinds of them."""
    if kind == "classification":
        return proportion_interval(score.hits, units, LEVEL, seed=seed)
    return capped_r2_interval(_errors_of(score), units, LEVEL, seed=seed)


def gain_over(name: str, score: HeldOut, other: HeldOut, units: Units, kind: Kind, seed: int) -> Control:
    """What a control reaches, and the score's gain over it on the same rows."""
    if kind == "classification":
        return paired_control(name, score.hits, other.hits, units, seed)
    interval = capped_gain_interval(_errors_of(score), _errors_of(other), units, LEVEL, seed=seed)
    return Control(name, other.score, score.score - other.score, interval.low, interval.high)


def over_models(
    name: str, score: HeldOut, models: Sequence[HeldOut], units: Units, kind: Kind, seed: int
) -> Control:
    """The control of several models of one kind: the score's gain over their mean, row by row.

    Args:
        name: of the control.
        score: of the model.
        models: the same of each control model, on the same rows.
        units: (N,) the independent units, or several kinds of them by name.
        kind: whether the labels are classes or numbers.
        seed: of the interval.

    Raises:
        ValueError: fewer than three models.
    """
    return one_more(
        gain_over(name, score, mean_of(models), units, kind, seed), [model.score for model in models]
    )


def control_gains(
    score: HeldOut,
    controls: Mapping[str, HeldOut],
    models: Mapping[str, Sequence[HeldOut]],
    units: Units,
    kind: Kind,
    seed: int,
) -> tuple[Control, ...]:
    """The gains over controls by name, and over several control models of each kind, on the same rows."""
    return (
        *(gain_over(name, score, other, units, kind, seed) for name, other in controls.items()),
        *(over_models(name, score, several, units, kind, seed) for name, several in models.items()),
    )


def shuffled_control(test: PermutationTest) -> Control:
    """Shuffled labels under the permutation test's own ridge probe; the interval is the null's, seen from the score."""
    (low, high), mean = test.interval, float(test.null.mean())
    low, high = min(low, mean), max(high, mean)
    return Control("shuffled_labels", mean, test.observed - mean, test.observed - high, test.observed - low)


def _errors_of(score: HeldOut) -> NumberErrors:
    if score.errors is None:
        raise ValueError("the held-out numbers have no errors: make them with `held_out` or `constant`")
    return score.errors


def growth_of(problem: Problem, score: HeldOut, units: Units) -> Growth | str:
    """The end of the probe's learning curve, or why it has none.

    The same probe is trained on a random half of the training groups of each fold and scored on the same rows. Which
    rows a single probe gets right is to a good part the luck of its split, so both are averaged over `REPEATS` splits
    into folds, with a half of each: what is left in the interval is how rows differ in what more groups bring.
    Twice the groups are expected to gain half of what the last doubling gained: what is missing falls as one over
    the number of groups, as the error of a least-squares fit does where it has rows enough. It says how the score
    moves, not what it reaches.
    """
    splits = [replace(problem, seed=problem.seed + repeat) for repeat in range(REPEATS)]
    try:
        halves = [held_out(replace(split, half=True)) for split in splits]
    except ValueError as error:
        return str(error)
    whole, half = mean_of([score, *map(held_out, splits[1:])]), mean_of(halves)
    gain = gain_over("half", whole, half, units, problem.kind, problem.seed)
    expected = max(score.score, min(1.0, score.score + gain.gain / 2))
    return Growth(half.score, gain.gain, gain.low, gain.high, expected)


def _scored(predictions: NDArray[Any], problem: Problem) -> HeldOut:
    if problem.kind == "classification":
        return HeldOut.of_classes(predictions, problem.labels)
    means = mean_predictions(problem.labels, problem.groups, seed=problem.seed)
    return _of_numbers(predictions, number_errors(problem.labels, predictions, means))


def _of_numbers(predictions: NDArray[Any], errors: NumberErrors) -> HeldOut:
    return HeldOut(predictions, errors.of - errors.lost, errors.of, errors)
