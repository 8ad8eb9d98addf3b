"""A measurement: one number, what it is worth, and what else would have produced it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from math import isfinite
from typing import Any

from lazarus_probe.plain import plain
from lazarus_probe.statistics.intervals import estimate, shown


@dataclass(frozen=True)
class Control:
    """Something that needs none of the claim, and how much the claim's score gains over it.

    `gain` is paired with the score wherever both are of the same prompts; `low` and `high` are its
    interval. For a claim of absence the control is a positive one (what the instrument does find) and the
    gain is the control's over the score. `spread` is the part of the interval's reach that no number of prompts
    narrows: how far one more model of the control's kind may fall from those that were measured.

    Example:
        >>> from lazarus_probe import Control
        >>> Control("bag_of_tokens", score=0.70, gain=0.25, low=0.18, high=0.31).gain
        0.25
    """

    name: str
    score: float
    gain: float
    low: float
    high: float
    spread: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        _check_finite(f"control {self.name!r}", score=self.score, spread=self.spread)
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
class Growth:
    """What a probe gains from more rows: the end of its learning curve.

    A score that still rises says that rows are lacking, not that the model lacks what is probed for.

    Attributes:
        half: the score of the same probe with half of the training groups, over several splits.
        gain: the score with all of them over the same splits, less `half`.
        low: lower end of the gain's interval.
        high: its upper end.
        expected: the score to be expected with twice the groups, extrapolated along a power law.
    """

    half: float
    gain: float
    low: float
    high: float
    expected: float

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        _check_finite("the learning curve", half=self.half, expected=self.expected)
        _check_interval("the learning curve", "gain", self.gain, self.low, self.high)


@dataclass(frozen=True)
class Strata:
    """How much of a universal claim's domain was measured, and how much of it may fail.

    Attributes:
        declared: strata (slices of prompts) that the claim is about.
        measured: how many of them were measured.
        failed: how many of those failed, each on prompts of its own.
        upper: exact upper bound on the share of all declared strata that fail, at the claim's level; what was not
            measured counts as unknown, not as well.
        untestable: strata with too few independent groups to be told, by name; they count as unmeasured.
    """

    declared: int
    measured: int
    failed: int
    upper: float
    untestable: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse counts that contradict each other."""
        if not 0 <= self.failed <= self.measured <= self.declared or self.declared < 2:
            raise ValueError(
                f"{self.failed} of {self.measured} measured of {self.declared} declared strata failed: "
                "give at least 2 declared, and no more measured than declared, no more failed than measured"
            )
        if len(self.untestable) > self.declared - self.measured:
            raise ValueError(
                f"{len(self.untestable)} untestable strata, but only {self.declared - self.measured} were not measured"
            )
        # One more failing stratum among those that were not drawn goes unseen as often as they are many, and at no
        # level below a half may that be ruled out.
        least = (self.failed + (2 * self.measured < self.declared)) / self.declared
        if not least - 1e-9 <= self.upper <= 1:
            raise ValueError(
                f"upper is {self.upper:g}, but of {self.declared} strata {self.failed} failed and {self.measured} were "
                f"measured: give a share in [{least:g}, 1]"
            )


@dataclass(frozen=True)
class Damage:
    """What an edit does to prompts that it should leave alone.

    Attributes:
        unit: what is counted, as in `answers lost on capitals`.
        score: the mean.
        low: lower end of its interval.
        high: its upper end.
        n: prompts.
    """

    unit: str
    score: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        _check_interval(f"damage {self.unit!r}", "score", self.score, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.unit} {estimate(self.score, self.low, self.high)}"


@dataclass(frozen=True)
class Part:
    """Something else that must hold beside the score, as a circuit's minimality.

    Attributes:
        name: as the claim declares it.
        score: the estimate.
        low: lower end of its interval.
        high: its upper end.
        n: what it was counted on, such as edges.
    """

    name: str
    score: float
    low: float
    high: float
    n: int

    def __post_init__(self) -> None:
        """Refuse what no interval can mean."""
        _check_interval(f"part {self.name!r}", "score", self.score, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.name} {estimate(self.score, self.low, self.high)}"


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
        controls: at least one, each with a name of its own, where `unmeasured` names none.
        p: permutation p of the score under its null, where there is one.
        seed: the seed of every random choice in it.
        details: plain numbers, strings, lists and dicts to keep beside it.
        tokens: of all the prompts measured, so that a tokenizer that changed shows.
        examples: some of the prompts, with the model's answers.
        curves: the score and its controls along the layers, where it was scanned.
        grids: scores over layers and positions.
        counterexamples: where the claim fails, from a search.
        units: the number of independent units of each kind that the score generalises over, as in
            `{"phrasing": 24, "family": 40}`; `groups` is the least of them.
        floor: the least score there can be: 0 for accuracies and rates, -1 for their differences.
        ceiling: the largest: 1 for accuracies, R2, rates and their differences.
        growth: the end of the probe's learning curve, where the score is a probe's; or why it has none.
        strata: how much of a universal claim's domain was measured.
        damage: what the edit of a causal claim does to unrelated prompts.
        parts: what else must hold beside the score, each under a name of its own.
        place: on what part of the claim's domain, or how far a push went; it may be another with another seed.
        unmeasured: controls that were left out, since the outcome is settled without them.

    Raises:
        ValueError: a number that is not finite, an interval that does not hold its score, no prompts, groups or
            controls, fewer than two units of a kind, two controls of one name, a score above its ceiling, or a p
            outside [0, 1], or what is nested too deep or too large an integer to be kept. TypeError: what no report
            can keep; see `plain`.

    Example:
        >>> from lazarus_probe import Control, Measurement
        >>> measurement = Measurement(
        ...     score=0.95,
        ...     low=0.92,
        ...     high=0.97,
        ...     n=400,
        ...     groups=40,
        ...     unit="held-out accuracy",
        ...     controls=(
        ...         Control("majority", score=0.50, gain=0.45, low=0.42, high=0.47),
        ...         Control("bag_of_tokens", score=0.70, gain=0.25, low=0.18, high=0.31),
        ...     ),
        ... )
        >>> measurement.best_control.name
        'bag_of_tokens'
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
    units: Mapping[str, int] = field(default_factory=dict)
    floor: float = 0.0
    ceiling: float = 1.0
    growth: Growth | str | None = None
    strata: Strata | None = None
    damage: Damage | None = None
    parts: tuple[Part, ...] = ()
    place: str = ""
    unmeasured: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what no verdict can rest on, where it was made."""
        _check_interval("the measurement", "score", self.score, self.low, self.high)
        _check_finite("the measurement", floor=self.floor)
        if self.n < 1 or self.groups < 1:
            raise ValueError(
                f"n is {self.n} and groups is {self.groups}: a measurement needs at least 1 of each"
            )
        if self.p is not None and not 0 <= self.p <= 1:
            raise ValueError(f"p is {self.p:g}: give one in [0, 1], or None where there is no null")
        if scarce := {name: count for name, count in self.units.items() if count < 2}:
            name, count = next(iter(scarce.items()))
            raise ValueError(f"units has {count} {name}: to generalise over {name}, give at least 2 of them")
        if self.units and self.groups != min(self.units.values()):
            raise ValueError(f"groups is {self.groups}: give the least of the units {dict(self.units)}")
        if not self.ceiling >= self.score - 1e-9:
            raise ValueError(
                f"ceiling is {self.ceiling}, below the score {self.score:g}: give the largest score there can be"
            )
        for control in self.controls:
            if not isinstance(control, Control):
                raise TypeError(
                    f"the controls hold {control!r}: give a Control for each, with a name and scores"
                )
        names = [control.name for control in self.controls]
        if not (names or self.unmeasured) or len(set(names)) < len(names):
            raise ValueError(f"the controls are {names}: give at least one, each under a name of its own")
        if len({part.name for part in self.parts}) < len(self.parts):
            raise ValueError(
                f"the parts are {[part.name for part in self.parts]}: give each under a name of its own"
            )
        if both := set(names) & set(self.unmeasured):
            raise ValueError(f"the control {min(both)!r} is measured and unmeasured: give it as one of both")
        self.as_dict()

    @property
    def counted(self) -> str:
        """What is counted, and where."""
        return counted(self.unit, self.place)

    @property
    def best_control(self) -> Control | None:
        """The control that the score gains least over."""
        return min(self.controls, key=lambda control: control.gain, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values only: a NumPy scalar on a report would stop a parallel run."""
        fields = {item.name: getattr(self, item.name) for item in dataclass_fields(self)}
        return {name: plain(_as_fields(value), name) for name, value in fields.items()}


def counted(unit: str, place: str) -> str:
    """What is counted, and where, as in `accuracy on sums`."""
    return f"{unit} on {place}" if place else unit


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


def _as_fields(value: Any) -> Any:
    """Controls, curves and the like as dictionaries; on details `asdict` would recurse, however deep they are."""
    if isinstance(value, tuple):
        return [_as_fields(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
