"""Which mutants a suite catches, in text: by kind of change, and by claim."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lazarus_probe.mutants.results import CALIBRATING, Catches, MutantResult, choose
from lazarus_probe.statistics.intervals import Interval, shown
from lazarus_probe.tables import Table

MOST_NAMED = 12  # mutants named in a line


def mutants_text(catches: Catches, chosen: int = 0) -> str:
    """What is caught, what raises an alarm, and by which claims.

    Args:
        catches: of all claims of the suite.
        chosen: how many claims to choose; 0 chooses none.
    """
    lines = [*_counts(catches), "", *_by_kind(catches), "", *_by_claim(catches)]
    if chosen:
        lines += ["", *_chosen(catches, chosen)]
    return "\n".join(lines) + "\n"


def _counts(catches: Catches) -> Iterator[str]:
    inner, harmless = catches.inner, catches.harmless
    if inner:
        yield f"caught: {_share(*catches.caught(inner), len(inner))} inner changes"
        yield from _named("not caught", [mutant for mutant in inner if not catches.by(mutant)])
    if harmless:
        yield f"alarms: {_share(*catches.caught(harmless), len(harmless))} harmless changes"
        yield from _named("alarm", [mutant for mutant in harmless if catches.by(mutant)])
    yield f"tolerances are from {len(CALIBRATING)} harmless changes that are not counted: {', '.join(CALIBRATING)}"


def _share(count: int, interval: Interval, of: int) -> str:
    return f"{count} of {of} {interval}"


def _named(word: str, mutants: Sequence[MutantResult]) -> Iterator[str]:
    if mutants:
        names = [mutant.name for mutant in mutants[:MOST_NAMED]]
        more = f" and {len(mutants) - MOST_NAMED} more" if len(mutants) > MOST_NAMED else ""
        yield f"  {word}: {', '.join(names)}{more}"


def _by_kind(catches: Catches) -> Iterator[str]:
    """A line a kind: how many are caught, what a small benchmark shows, which claims catch most."""
    rows = []
    for kind in dict.fromkeys(mutant.kind for mutant in (*catches.inner, *catches.harmless)):
        members = [mutant for mutant in (*catches.inner, *catches.harmless) if mutant.kind == kind]
        by = [claim for mutant in members for claim in catches.by(mutant)]
        most = sorted(dict.fromkeys(by), key=lambda claim: -by.count(claim))[:2]
        same = [mutant.agreement for mutant in members if mutant.agreement is not None]
        rows.append(
            [
                kind + (" (harmless)" if members[0].harmless else ""),
                f"{sum(bool(catches.by(mutant)) for mutant in members)} of {len(members)}",
                f"{shown(min(same))} to {shown(max(same))}" if same else "",
                ", ".join(f"{claim} {by.count(claim)}" for claim in most),
            ]
        )
    yield from Table(["change", "caught", "same first choice", "most by"], rows).lines()


def _by_claim(catches: Catches) -> Iterator[str]:
    rows = []
    for claim in catches.claims:
        caught = [mutant for mutant in catches.inner if claim in catches.by(mutant)]
        alone = [mutant for mutant in caught if len(catches.by(mutant)) == 1]
        alarms = [mutant for mutant in catches.harmless if claim in catches.by(mutant)]
        tolerance = catches.tolerances.get(claim)
        cost = catches.results.costs.get(claim)
        rows.append(
            (
                len(caught),
                [
                    claim,
                    "" if cost is None else f"{cost:.1f} s",
                    str(len(caught)),
                    str(len(alone)),
                    str(len({mutant.kind for mutant in caught})),
                    str(len(alarms)),
                    "" if tolerance is None else f"{tolerance:.3f}",
                ],
            )
        )
    ordered = [row for _, row in sorted(rows, key=lambda row: -row[0])]
    yield from Table(
        ["claim", "cost", "caught", "alone", "kinds", "alarms", "harmless move"], ordered
    ).lines()


def _chosen(catches: Catches, count: int) -> Iterator[str]:
    """The claims chosen on every other mutant of each kind, and what they catch of the rest."""
    learning, told = halves(catches)
    names = choose(learning, count)
    few = Catches(told.results, names)
    cost = sum(catches.results.costs.get(claim, 0.0) for claim in names)
    yield f"{len(names)} claims chosen on every other mutant ({cost:.1f} s on the model itself):"
    yield from (f"  {claim}" for claim in names)
    if few.inner:
        yield f"of the other mutants they catch {_share(*few.caught(few.inner), len(few.inner))}, "
        yield f"where all {len(catches.claims)} catch {told.caught(told.inner)[0]}"


def halves(catches: Catches) -> tuple[Catches, Catches]:
    """The catches on every other mutant of each kind, and on the rest; both keep the calibrating changes.

    Claims that are chosen on some mutants would look better on the same ones than they are.
    """
    calibrating = [mutant for mutant in catches.results.mutants if mutant.name in CALIBRATING]
    parts: tuple[list[MutantResult], list[MutantResult]] = ([*calibrating], [*calibrating])
    seen: dict[str, int] = {}
    for mutant in catches.results.mutants:
        if mutant.name not in CALIBRATING:
            turn = seen.get(mutant.kind, 0)
            parts[turn % 2].append(mutant)
            seen[mutant.kind] = turn + 1
    first, second = (catches.results.model_copy(update={"mutants": tuple(part)}) for part in parts)
    return Catches(first, catches.claims), Catches(second, catches.claims)
