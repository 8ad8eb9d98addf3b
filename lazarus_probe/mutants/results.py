"""What a suite made of every mutant: kept in a file while they run, and counted at the end."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.mutants.readings import Reading, tolerances
from lazarus_probe.spelling import in_a_line
from lazarus_probe.statistics.intervals import Interval, exact

# Harmless changes from which tolerances are taken; they are not among those that count as alarms.
CALIBRATING = ("bfloat16 rounding", "8-bit rounding groups of 32")
MOST = 64 << 20  # bytes of a file of results


class MutantResult(BaseModel):
    """What a suite made of a mutant.

    Attributes:
        kind: of the change.
        place: in the model.
        harmless: whether it should not be noticed.
        agreement: share of positions of the model's own texts at which both models' first choice is the same token;
            None where the model is as it was.
        seconds: of the run of its suite, by the clock; several mutants in one run share them.
        readings: by claim.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str
    place: str
    harmless: bool
    agreement: float | None
    seconds: float
    readings: dict[str, Reading]

    @property
    def name(self) -> str:
        """The kind and the place."""
        return f"{self.kind} {self.place}".strip()


class MutantResults(BaseModel):
    """What a suite made of all mutants of a model.

    Attributes:
        model: its name.
        fingerprint: of it.
        seed: of the mutants.
        costs: by claim, the seconds that it took on the model itself.
        mutants: what was made of each so far.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    fingerprint: str
    seed: int
    costs: dict[str, float]
    mutants: tuple[MutantResult, ...] = ()

    def write(self, path: Path) -> None:
        """Write it whole.

        Raises:
            OSError: it cannot be written.
        """
        write_aside(path, self.model_dump_json(indent=1) + "\n")


def read_results(path: Path) -> MutantResults:
    """Read what was kept of an earlier run.

    Raises:
        ValueError: it cannot be read, or is no file of results.
    """
    try:
        return MutantResults.model_validate(read_json(path, MOST))
    except ValidationError as error:
        raise ValueError(
            f"{path} holds no results of mutants: {in_a_line(error.errors()[0], 'the file')}"
        ) from None
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


@dataclass(frozen=True)
class Catches:
    """Which mutants some claims catch.

    Attributes:
        results: of a suite.
        claims: of it, by name with parameters.
    """

    results: MutantResults
    claims: tuple[str, ...]

    @cached_property
    def tolerances(self) -> dict[str, float]:
        """By claim the furthest that the calibrating changes moved it."""
        known = {m.name: m.readings for m in self.results.mutants if m.harmless and m.name in CALIBRATING}
        return tolerances(known)

    @cached_property
    def inner(self) -> tuple[MutantResult, ...]:
        """The mutants that should be caught."""
        return tuple(mutant for mutant in self.results.mutants if not mutant.harmless)

    @cached_property
    def harmless(self) -> tuple[MutantResult, ...]:
        """The mutants that should raise no alarm, without those that tolerances are taken from."""
        return tuple(m for m in self.results.mutants if m.harmless and m.name not in CALIBRATING)

    def by(self, mutant: MutantResult) -> tuple[str, ...]:
        """The claims that catch a mutant."""
        return tuple(
            claim
            for claim in self.claims
            if claim in mutant.readings and mutant.readings[claim].catches(self.tolerances.get(claim))
        )

    def caught(self, mutants: Sequence[MutantResult]) -> tuple[int, Interval]:
        """How many of some mutants are caught, with the exact interval of their share (Clopper & Pearson 1934)."""
        count = sum(bool(self.by(mutant)) for mutant in mutants)
        return count, exact(count, len(mutants))


def choose(catches: Catches, count: int) -> tuple[str, ...]:
    """The claims that catch most together for the least time.

    From none on, the claim is added that catches most mutants a second which those before it leave; where nothing is
    left, those come that catch most a second at all. Claims that a harmless change sets off are never chosen.

    Args:
        catches: of all claims.
        count: how many to choose.
    """
    mutants = {claim: {m.name for m in catches.inner if claim in catches.by(m)} for claim in catches.claims}
    alarming = {claim for mutant in catches.harmless for claim in catches.by(mutant)}
    costs, chosen, covered = catches.results.costs, list[str](), set[str]()
    left = [claim for claim in catches.claims if claim not in alarming and mutants[claim]]
    while left and len(chosen) < count:
        best = max(left, key=lambda claim: _worth(mutants[claim], covered, costs.get(claim, 1.0)))
        if not mutants[best] - covered:
            covered = set()
            best = max(left, key=lambda claim: _worth(mutants[claim], covered, costs.get(claim, 1.0)))
        chosen.append(best)
        covered |= mutants[best]
        left.remove(best)
    return tuple(chosen)


def _worth(mutants: Collection[str], covered: Collection[str], seconds: float) -> tuple[float, int]:
    """New mutants a second, a second being added: what costs nearly nothing is no better than what catches more."""
    new = len(set(mutants) - set(covered))
    return new / (1.0 + seconds), new


def missed(catches: Catches) -> Mapping[str, MutantResult]:
    """The inner mutants that no claim catches, by name."""
    return {mutant.name: mutant for mutant in catches.inner if not catches.by(mutant)}
