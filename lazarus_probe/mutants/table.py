"""Which mutants a suite catches, in text: by kind of change, and by claim."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from lazarus_probe.mutants.results import Catches, MutantResult
from lazarus_probe.statistics.intervals import Interval, shown
from lazarus_probe.tables import Column, Table

MOST_NAMED = 12  # mutants named in a line


def mutants_text(catches: Catches) -> str:
    """What is caught, what raises an alarm, and by which claims."""
    return "\n".join([*_counts(catches), "", *_by_kind(catches), "", *_by_claim(catches)])


def _counts(catches: Catches) -> Iterator[str]:
    inner, harmless = catches.inner, catches.harmless
    if inner:
        yield f"caught: {_share(*catches.caught(inner), len(inner))} inner changes"
        yield from _named("not caught", [mutant for mutant in inner if not catches.by(mutant)])
    if harmless:
        yield f"alarms: {_share(*catches.caught(harmless), len(harmless))} harmless changes"
        yield from _named("alarm", [mutant for mutant in harmless if catches.by(mutant)])
    trial = [len(catches.of(harmless=harmless, trial=True)) for harmless in (False, True)]
    yield (
        f"{trial[0]} inner and {trial[1]} harmless changes, one of each kind, are not counted: claims were chosen by "
        "them, and how far harmless changes move each was measured on them"
    )


def _share(count: int, interval: Interval, of: int) -> str:
    return f"{count} of {of} {interval}"


def _named(word: str, mutants: Sequence[MutantResult]) -> Iterator[str]:
    if mutants:
        names = [mutant.name for mutant in mutants[:MOST_NAMED]]
        more = f" and {len(mutants) - MOST_NAMED} more" if len(mutants) > MOST_NAMED else ""
        yield f"  {word}: {', '.join(names)}{more}"


def _by_kind(catches: Catches) -> Iterator[str]:
    """A line a kind of inner change: how many are caught, what a small benchmark shows, which claim catches most."""
    rows = []
    for kind, members in _kinds(catches.inner).items():
        by = Counter(claim for mutant in members for claim in catches.by(mutant))
        same = [mutant.agreement for mutant in members if mutant.agreement is not None]
        rows.append(
            [
                kind,
                f"{sum(bool(catches.by(mutant)) for mutant in members)} of {len(members)}",
                f"{shown(min(same))} to {shown(max(same))}" if same else "",
                by.most_common(1)[0][0] if by else "",
            ]
        )
    yield from Table(["change", "caught", "same first choice", "most by"], rows).fitted()
    kinds = ", ".join(f"{kind} {len(members)}" for kind, members in _kinds(catches.harmless).items())
    yield from ("", f"harmless: {kinds}") if kinds else ()


def _kinds(mutants: Sequence[MutantResult]) -> dict[str, list[MutantResult]]:
    kinds: dict[str, list[MutantResult]] = {}
    for mutant in mutants:
        kinds.setdefault(mutant.kind, []).append(mutant)
    return kinds


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
    numbers = ("cost", "caught", "alone", "kinds", "alarms", "harmless move")
    yield from Table(["claim", *(Column(name, right=True) for name in numbers)], ordered).fitted()
