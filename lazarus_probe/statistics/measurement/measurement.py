"""A measurement: one number, what it is worth, and what else would have produced it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from dataclasses import fields as dataclass_fields
from typing import Any

from lazarus_probe.plain import plain
from lazarus_probe.statistics.measurement.checks import check_finite, check_interval
from lazarus_probe.statistics.measurement.conditions import Damage, Growth, Part, Strata
from lazarus_probe.statistics.measurement.control import Control
from lazarus_probe.statistics.measurement.curves import Curve, Grid
from lazarus_probe.statistics.measurement.examples import Counterexample, Example


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
        details: plain numbers, strings, lists and dicts to keep with it.
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
        parts: what else must hold besides the score, each under a name of its own.
        place: on what part of the claim's domain, or how far a push went; it may be another with another seed.
        unmeasured: controls that were left out, since the outcome is settled without them.
        group_scores: mean score and number of rows of each independent unit, where the score is a mean over rows; see
            `statistics.measurement.group_scores`. A later run on the same prompts is compared unit by unit.

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
    group_scores: Mapping[str, tuple[float, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what no verdict can rest on, where it was made."""
        check_interval("the measurement", "score", self.score, self.low, self.high)
        check_finite("the measurement", floor=self.floor)
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


def _as_fields(value: Any) -> Any:
    """Controls, curves and the like as dictionaries; on details `asdict` would recurse, however deep they are."""
    if isinstance(value, tuple):
        return [_as_fields(item) for item in value]
    return asdict(value) if is_dataclass(value) and not isinstance(value, type) else value
