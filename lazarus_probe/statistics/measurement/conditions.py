"""What a claim may require besides its score: a learning curve that is flat, strata, little damage, parts that hold."""

from __future__ import annotations

from dataclasses import dataclass

from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.statistics.measurement.checks import check_finite, check_interval


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
        check_finite("the learning curve", half=self.half, expected=self.expected)
        check_interval("the learning curve", "gain", self.gain, self.low, self.high)


@dataclass(frozen=True)
class Strata:
    """How much of a universal claim's domain was measured, and how much of it may fail.

    Attributes:
        declared: strata (slices of prompts) that the claim is about.
        measured: how many of them were measured.
        failed: how many of those failed, each on prompts of its own.
        upper: exact upper bound on the share of all declared strata that fail, at the claim's level; what was not
            measured counts as unknown, not as well.
        untestable: strata with too few independent groups to be decided, by name; they count as unmeasured.
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
        check_interval(f"damage {self.unit!r}", "score", self.score, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.unit} {estimate(self.score, self.low, self.high)}"


@dataclass(frozen=True)
class Part:
    """Something else that must hold besides the score, as a circuit's minimality.

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
        check_interval(f"part {self.name!r}", "score", self.score, self.low, self.high)

    def __str__(self) -> str:
        return f"{self.name} {estimate(self.score, self.low, self.high)}"
