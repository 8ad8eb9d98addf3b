"""`lazarus mutants`: whether a suite of claims notices changes inside a model, and keeps quiet at harmless ones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import AsJson, Model, Topic
from lazarus_probe.cli.output import deliver

if TYPE_CHECKING:
    from lazarus_probe.mutants.mutant import Mutant
    from lazarus_probe.mutants.results import Catches, MutantResults
    from lazarus_probe.mutants.suite import PlainRun, Suite
    from lazarus_probe.subject.subject import Subject


def mutants(
    model: Model,
    files: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="FILES", help="Claims of your own, as pytest takes them; by default those of the package."
        ),
    ] = None,
    topic: Topic = None,
    claim: Annotated[
        list[str] | None, typer.Option(help="Only this claim of the package, by its id; repeatable.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="Take the cheapest claims that together take this long on the model.")
    ] = 12.0,
    choose: Annotated[
        int, typer.Option(min=0, help="Name so many claims that catch most for the least time.")
    ] = 0,
    each: Annotated[
        int, typer.Option(min=0, help="Make so many mutants of each kind at most; 0 makes all.")
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Processes at once, of one thread each.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of the prompts and of what mutants draw.")] = 0,
    results: Annotated[
        Path, typer.Option(help="File to keep the results in; an unfinished run goes on from there.")
    ] = Path("reports/mutants.json"),
    as_json: AsJson = False,
) -> None:
    """Change a model inside, a hundred times, and count how often a suite of claims notices.

    Each mutant is a checkpoint with one change: a head zeroed, neurons permuted, a direction erased, noise. The suite
    runs on it as it would in CI, and each claim is held against what it measured on the model itself. As many harmless
    changes, as 8-bit rounding or neurons permuted with their weights, must raise no alarm. How far harmless changes
    move a claim is measured on two of them, which are not counted.
    """
    from lazarus_probe.mutants.results import Catches
    from lazarus_probe.mutants.table import mutants_text
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model)
    kept = _run(subject, _suite(files or (), topic or (), claim or ()), results, seconds, each, workers, seed)
    catches = Catches(kept, tuple(kept.costs))
    deliver(_data(catches, choose), mutants_text(catches, choose), as_json=as_json)


def _suite(files: Sequence[str], topics: Sequence[str], ids: Sequence[str]) -> Suite:
    from lazarus_probe.claims.library import chosen_claims
    from lazarus_probe.mutants.suite import Suite
    from lazarus_probe.spelling import one_of

    if files:
        if topics or ids:
            raise ValueError("give FILES of your own, or --topic and --claim of the package, not both")
        return Suite(files=tuple(files))
    claims = {item.claim.id: item for item in chosen_claims((), topics) if not item.trains}
    if unknown := [name for name in ids if name not in claims]:
        raise ValueError(f"--claim {unknown[0]}: {one_of(unknown[0], list(claims))}")
    return Suite(claims=tuple(item for name, item in claims.items() if name in (ids or claims)))


def _run(
    subject: Subject, suite: Suite, path: Path, seconds: float, each: int, workers: int, seed: int
) -> MutantResults:
    from lazarus_probe.mutants.run import run_mutants

    made = _made(subject, each, seed)
    _say(f"the claims on {subject.name} itself ...")
    plain, suite, results = _begun(subject, suite, path, seconds, seed)
    _say(f"{len(results.costs)} claims of {sum(results.costs.values()):.0f} s on {len(made)} mutants ...")

    def keep(so_far: MutantResults) -> None:
        so_far.write(path)
        _say(f"{len(so_far.mutants)} of {len(made)} mutants")

    return run_mutants(subject, plain, suite, made, results, workers=workers, keep=keep)


def _made(subject: Subject, each: int, seed: int) -> list[Mutant]:
    """The mutants of a model, so many of each kind at most."""
    from lazarus_probe.mutants import harmless_mutants, inner_mutants

    counts: dict[str, int] = {}
    made = []
    for mutant in (*harmless_mutants(subject, seed), *inner_mutants(subject, seed)):
        counts[mutant.kind] = counts.get(mutant.kind, 0) + 1
        if not each or counts[mutant.kind] <= each:
            made.append(mutant)
    return made


def _begun(
    subject: Subject, suite: Suite, path: Path, seconds: float, seed: int
) -> tuple[PlainRun, Suite, MutantResults]:
    """The run on the model itself, the claims that are cheap enough, and the results so far."""
    from lazarus_probe.mutants.results import MutantResults, read_results
    from lazarus_probe.mutants.suite import cheapest, run_plain

    plain = run_plain(suite, str(subject.path), seed)
    if path.is_file():
        results = read_results(path)
        if (results.fingerprint, results.seed) != (subject.fingerprint, seed):
            raise ValueError(
                f"{path} is of {results.model} with seed {results.seed}, another model or seed than this run: give "
                "another file with --results"
            )
        tests = [plain.tests[claim] for claim in results.costs if claim in plain.tests]
        return plain.only(tests), suite.only(tests, plain.tests), results
    scored = {
        plain.tests[claim]
        for records in plain.side.claims.values()
        for claim, record in records.items()
        if record.score is not None
    }
    tests = cheapest(plain, seconds, scored.__contains__)
    chosen = plain.only(tests)
    costs = {claim: round(cost, 2) for claim, cost in chosen.costs.items()}
    results = MutantResults(model=subject.name, fingerprint=subject.fingerprint, seed=seed, costs=costs)
    return chosen, suite.only(tests, plain.tests), results


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _data(catches: Catches, count: int) -> dict[str, Any]:
    from lazarus_probe.mutants.results import choose
    from lazarus_probe.mutants.table import halves

    inner, harmless = (
        [(mutant, catches.by(mutant)) for mutant in made] for made in (catches.inner, catches.harmless)
    )
    return {
        "model": catches.results.model,
        "caught": sum(bool(by) for _, by in inner),
        "inner": len(inner),
        "alarms": sum(bool(by) for _, by in harmless),
        "harmless": len(harmless),
        "mutants": [
            {
                "name": mutant.name,
                "kind": mutant.kind,
                "harmless": mutant.harmless,
                "agreement": mutant.agreement,
            }
            | {"caught_by": list(by)}
            for mutant, by in (*inner, *harmless)
        ],
        **({"chosen": list(choose(halves(catches)[0], count))} if count else {}),
    }
