"""`lazarus report moved`: which claims moved further between two versions than harmless changes move them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver

if TYPE_CHECKING:
    from lazarus_probe.mutants.results import MutantResults
    from lazarus_probe.reports.versions.sides import Side


def moved(
    old: Annotated[str, typer.Argument(metavar="A", help="A run or a baseline, as in `report compare`.")],
    new: Annotated[str, typer.Argument(metavar="B", help="The later one, on the same prompts.")],
    harmless: Annotated[
        Path, typer.Option(help="Results of `lazarus mutants` on A's model, by which a move is judged.")
    ] = Path("reports/mutants.json"),
    reports: Annotated[
        Path, typer.Option("--reports", help="Folder in which runs and baselines are looked up by name.")
    ] = Path("reports"),
    as_json: AsJson = False,
) -> None:
    """List claims that moved further since A than harmless changes of the model move them; exit 1 if any did.

    A model can change inside while no verdict does, and no score: as many prompts are lost as are won. So what is
    looked at is how far each unit of prompts moved, up or down. A move counts where it is more than twice the furthest
    that a harmless change made: rounding, neurons permuted with their weights, another way of computing.
    """
    from lazarus_probe.mutants.readings import readings, tolerances
    from lazarus_probe.mutants.results import read_results
    from lazarus_probe.reports.versions.compare import compare_runs
    from lazarus_probe.reports.versions.sides import read_side
    from lazarus_probe.tables import Table

    before, results = read_side(old, reports), read_results(harmless)
    _check(before, results, harmless)
    by_claim = readings(compare_runs(before, read_side(new, reports)))
    known = tolerances({mutant.name: mutant.readings for mutant in results.mutants if mutant.harmless})
    further = {claim: reading for claim, reading in by_claim.items() if reading.catches(known.get(claim))}
    rows = [
        [
            claim,
            reading.status if reading.moved is None else f"moved {reading.moved:.3f}",
            f"{known[claim]:.3f}" if claim in known else "",
        ]
        for claim, reading in sorted(further.items(), key=lambda pair: -(pair[1].moved or 1.0))
    ]
    lines = (
        [*Table(["claim", "what became of it", "furthest harmless move"], rows).fitted(), ""] if rows else []
    )
    text = "\n".join(
        [*lines, f"moved further than harmless changes do: {len(further)} of {len(by_claim)} claims"]
    )
    data = {
        "claims": len(by_claim),
        "moved": {
            claim: {**reading.model_dump(mode="json"), "harmless": known.get(claim)}
            for claim, reading in further.items()
        },
    }
    deliver(data, text, as_json=as_json)
    raise typer.Exit(1 if further else 0)


def _check(side: Side, results: MutantResults, file: Path) -> None:
    """Refuse tolerances of another model than the one that is compared with."""
    fingerprints = set(side.models.values())
    if fingerprints != {results.fingerprint}:
        names = ", ".join(f"{name} ({fingerprint[:12]})" for name, fingerprint in side.models.items())
        raise ValueError(
            f"{file} is of {results.model} ({results.fingerprint[:12]}), and {side.name} of {names or 'no model'}: run "
            "`lazarus mutants` on the model that is compared with"
        )
