"""A measurement: one number, what it is worth, and what else would have produced it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import isfinite
from typing import Any

from lazarus_probe.statistics.intervals import estimate, shown


@dataclass(frozen=True)
class Control:
    """Something that needs none of the claim, and how much the claim's score gains over it.

    `gain` is paired with the score wherever both are of the same prompts; `low` and `high` are its
    interval. For a claim of absence the control is a positive one (what the instrument does find) and the
    gain is the control's over the score.
    """

    name: str
    score: float
    gain: float
    low: float
    high: float

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        _check_finite(f"control {self.name!r}", score=self.score)
        _check_interval(f"control {self.name!r}", "gain", self.gain, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.name} {shown(self.score)} (gain {estimate(self.gain, self.low, self.high)})"


@dataclass(frozen=True)
class Example:
    """One prompt behind a number.

    Attributes:
        prompt: as the model met it.
        expected: what would be right.
        said: what the model said.
        counted: whether the score counts it.
    """

    prompt: str
    expected: str
    said: str
    counted: bool


def some_examples(
    prompts: Sequence[str],
    expected: Sequence[object],
    said: Sequence[object],
    counted: Sequence[bool] | Any,
    most: int = 12,
) -> tuple[Example, ...]:
    """At most `most` of the prompts, for a report: half of them such as the score does not count, if there are.

    Raises:
        ValueError: lengths that differ.
    """
    rows = [
        Example(str(prompt), str(right), str(answer), bool(counts))
        for prompt, right, answer, counts in zip(prompts, expected, said, counted, strict=True)
    ]
    misses, hits = ([row for row in rows if row.counted is side] for side in (False, True))
    few = misses[: max(most // 2, most - len(hits))]
    return (*few, *hits[: most - len(few)])


@dataclass(frozen=True)
class Curve:
    """A score, or a control, along an axis.

    Attributes:
        name: `score`, or the control's.
        x: (K,) places, such as layers; -1 is the embedding.
        y: (K,) scores.
        low: (K,) lower ends of their intervals, where there are.
        high: (K,) upper ends.
        axis: what x counts.
    """

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] | None = None
    high: tuple[float, ...] | None = None
    axis: str = "layer"

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        parts = [part for part in (self.y, self.low, self.high) if part is not None]
        if not self.x or any(len(part) != len(self.x) for part in parts):
            raise ValueError(
                f"curve {self.name!r} has {len(self.x)} places: give as many scores, and interval ends"
            )
        for name in ("x", "y", "low", "high"):
            _check_finite(
                f"curve {self.name!r}", **{f"{name}[{i}]": v for i, v in enumerate(getattr(self, name) or ())}
            )


@dataclass(frozen=True)
class Grid:
    """A score over two axes, such as layers by positions.

    Attributes:
        name: what is shown.
        rows: (R,) names, such as `L0`.
        columns: (K,) names, such as tokens.
        values: (R, K).
    """

    name: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    values: tuple[tuple[float, ...], ...]

    def __post_init__(self) -> None:
        """Refuse what cannot be drawn."""
        shape = [len(row) for row in self.values]
        if not shape or not self.columns or shape != [len(self.columns)] * len(self.rows):
            raise ValueError(
                f"grid {self.name!r} has {len(self.rows)} rows and {len(self.columns)} columns: "
                "give a value for each cell"
            )
        for row, name in zip(self.values, self.rows, strict=True):
            _check_finite(
                f"grid {self.name!r}, row {name}", **{f"cell {i}": value for i, value in enumerate(row)}
            )


@dataclass(frozen=True)
class Counterexample:
    """Prompts on which a claim fails, found by a search and confirmed on fresh ones.

    Attributes:
        where: the prompt, or the slice of prompts, in words.
        examples: fresh prompts from there, with what the model said.
        score: what the claim's score is on the fresh prompts.
        low: lower end of its interval.
        high: upper end.
        n: how many fresh prompts.
    """

    where: str
    examples: tuple[Example, ...]
    score: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        _check_interval(f"counterexample {self.where!r}", "score", self.score, self.low, self.high)


@dataclass(frozen=True)
class Measurement:
    """A score with its interval, the number of prompts and of independent groups, and its controls.

    Attributes:
        score: what the claim is about, in `unit`.
        low: lower end of the score's interval.
        high: upper end of the score's interval.
        n: prompts (or runs) measured.
        groups: independent units among them; what an interval really rests on.
        unit: what is counted, as in `accuracy` or `rate of full transfer`.
        controls: at least one, each with a name of its own.
        p: permutation p of the score under its null, where there is one.
        seed: the seed of every random choice in it.
        details: plain numbers, strings, lists and dicts to keep beside it.
        tokens: of all the prompts measured, so that a tokenizer that changed shows.
        examples: some of the prompts, with the model's answers.
        curves: the score and its controls along the layers, where it was scanned.
        grids: scores over layers and positions.
        counterexamples: where the claim fails, from a search.

    Raises:
        ValueError: a number that is not finite, an interval that does not hold its score, no prompts,
            groups or controls, two controls of one name, or a p outside [0, 1]. TypeError: details that
            no report can keep.
    """

    score: float
    low: float
    high: float
    n: int
    groups: int
    unit: str
    controls: tuple[Control, ...]
    p: float | None = None
    seed: int = 0
    details: Mapping[str, Any] = field(default_factory=dict)
    tokens: int | None = None
    examples: tuple[Example, ...] = ()
    curves: tuple[Curve, ...] = ()
    grids: tuple[Grid, ...] = ()
    counterexamples: tuple[Counterexample, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no verdict can rest on, where it was made."""
        _check_interval("the measurement", "score", self.score, self.low, self.high)
        if self.n < 1 or self.groups < 1:
            raise ValueError(
                f"n is {self.n} and groups is {self.groups}: a measurement needs at least 1 of each"
            )
        if self.p is not None and not 0 <= self.p <= 1:
            raise ValueError(f"p is {self.p:g}: give one in [0, 1], or None where there is no null")
        names = [control.name for control in self.controls]
        if not names or len(set(names)) < len(names):
            raise ValueError(f"the controls are {names}: give at least one, each under a name of its own")
        _plain(self.details)

    @property
    def best_control(self) -> Control | None:
        """The control that the score gains least over."""
        return min(self.controls, key=lambda control: control.gain, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values only: a NumPy scalar on a report would stop a parallel run."""
        return _plain(asdict(self))


def _check_interval(of: str, name: str, value: float, low: float, high: float) -> None:
    _check_finite(of, **{name: value, "low": low, "high": high})
    if not low - 1e-9 <= value <= high + 1e-9:
        raise ValueError(f"{of} has {name} {value:g} outside its interval [{low:g}, {high:g}]")


def _check_finite(of: str, **numbers: float) -> None:
    for name, value in numbers.items():
        if not isfinite(value):
            raise ValueError(
                f"{of} has {name} {value}: give a finite number; is something empty or constant?"
            )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(
        f"{value!r} ({type(value).__name__}) cannot be kept on a report: give a number, string or list"
    )
