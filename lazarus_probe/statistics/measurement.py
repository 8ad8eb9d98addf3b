"""A measurement: one number, what it is worth, and what else would have produced it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True)
class Control:
    """Something that needs none of the claim, and how much the claim's score gains over it.

    `gain` is paired with the score wherever both are of the same prompts; `low` and `high` are its interval. For a
    claim of absence the control is a positive one (what the instrument does find) and the gain is the control's over
    the score.
    """

    name: str
    score: float
    gain: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.name} {self.score:.2f} (gain {self.gain:.2f} [{self.low:.2f}, {self.high:.2f}])"


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
        controls: at least one.
        p: permutation p of the score under its null, where there is one.
        seed: the seed of every random choice in it.
        details: plain numbers, strings, lists and dicts to keep beside it.
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

    @property
    def best_control(self) -> Control | None:
        """The control that the score gains least over."""
        return min(self.controls, key=lambda control: control.gain, default=None)

    def as_dict(self) -> dict[str, Any]:
        """Plain Python values only: a NumPy scalar on a report would stop a parallel run."""
        return _plain(asdict(self))  # type: ignore[no-any-return]


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is None or type(value) in (bool, int, float, str):
        return value
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    raise TypeError(f"{value!r} ({type(value).__name__}) cannot be kept on a report: give a number, string or list")
