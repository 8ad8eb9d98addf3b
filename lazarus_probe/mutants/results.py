"""What a suite made of every mutant: kept in a file while they run, and counted at the end."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from lazarus_probe.files.plain_json import read_json
from lazarus_probe.files.whole_files import write_aside
from lazarus_probe.mutants.readings import MutantOutcome, tolerances
from lazarus_probe.spelling import in_a_line
from lazarus_probe.statistics.intervals import Interval, exact

MOST = 64 << 20  # bytes of a file of results


class MutantResult(BaseModel):
    """What a suite made of a mutant.

    Attributes:
        kind: of the change.
        place: in the model.
        harmless: whether it should not be noticed.
        agreement: share of positions of the model's own texts at which both models' first choice is the same token;
            None where the model is as it was.
        trial: whether claims were chosen by it, and tolerances taken from it: such mutants are not counted.
        seconds: of the run of its suite, by the clock; several mutants in one run share them.
        readings: by claim.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str
    place: str
    harmless: bool
    agreement: float | None
    trial: bool = False
    seconds: float
    readings: dict[str, MutantOutcome]

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
        chosen: the claims that mutants after the trial are tested by; empty while it lasts.
        mutants: what was made of each so far.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    model: str
    fingerprint: str
    seed: int
    costs: dict[str, float]
    chosen: tuple[str, ...] = ()
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
        """By claim the furthest that a harmless change of the trial moved it."""
        return tolerances({m.name: m.readings for m in self.results.mutants if m.harmless and m.trial})

    @cached_property
    def inner(self) -> tuple[MutantResult, ...]:
        """The mutants that should be caught, without those of the trial."""
        return self.of(harmless=False, trial=False)

    @cached_property
    def harmless(self) -> tuple[MutantResult, ...]:
        """The mutants that should raise no alarm, without those of the trial."""
        return self.of(harmless=True, trial=False)

    def of(self, *, harmless: bool, trial: bool) -> tuple[MutantResult, ...]:
        """The mutants of one sort."""
        return tuple(m for m in self.results.mutants if m.harmless == harmless and m.trial == trial)

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
    """The claims that catch most of a trial together for the least time.

    From none on, the claim is added that catches most mutants a second which those before it leave; where nothing is
    left, those come that catch most a second at all. Claims that a harmless change sets off are never chosen.

    Args:
        catches: of all claims.
        count: how many to choose.
    """
    inner, harmless = (catches.of(harmless=harmless, trial=True) for harmless in (False, True))
    mutants = {claim: {m.name for m in inner if claim in catches.by(m)} for claim in catches.claims}
    alarming = {claim for mutant in harmless for claim in catches.by(mutant)}
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
