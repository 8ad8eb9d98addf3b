"""`lazarus mutants`: whether a suite of claims notices changes inside a model, and keeps quiet at harmless ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
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
        float, typer.Option(min=0, help="Leave out tests that take longer than this on the model.")
    ] = 5.0,
    choose: Annotated[
        int,
        typer.Option(
            min=1,
            help="Choose so many claims, which catch most for the least time on one mutant of each kind, and test the "
            "others by these.",
        ),
    ] = 10,
    each: Annotated[int, typer.Option(min=0, help="Maximum mutants per kind; 0 for all.")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="Parallel processes, one thread each.")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Random seed of the prompts and of the mutants.")] = 0,
    results: Annotated[
        Path, typer.Option(help="File of the results; an unfinished run resumes from it.")
    ] = Path("reports/mutants.json"),
    as_json: AsJson = False,
) -> None:
    """Change a model inside, a hundred times, and count how often a suite of claims notices.

    Each mutant is a checkpoint with one change: a head zeroed, neurons permuted, a direction erased, noise. The suite
    runs on it as it would in CI, and each claim is compared with its result on the model itself. As many harmless
    changes, as 8-bit rounding or neurons permuted with their weights, must raise no alarm. One mutant of each kind
    comes first: by these claims are chosen, and how far harmless changes move each is measured. They are not counted.
    """
    from lazarus_probe.mutants.results import Catches
    from lazarus_probe.mutants.table import mutants_text
    from lazarus_probe.subject.one_run import require_one_process
    from lazarus_probe.subject.subject import Subject

    require_one_process("a suite on mutants")
    subject = Subject.load(model)
    suite = _suite(files or (), topic or (), claim or ())
    made = _made(subject, each, seed)
    _say(f"the claims on {subject.name} itself ...")
    plain, so_far = _begun(subject, suite, results, seconds, seed)
    tested = partial(_tested, subject, plain, suite, results, workers)
    so_far = _trial(tested, plain, made, so_far, choose)
    so_far.write(results)
    so_far = _rest(tested, plain, made, so_far)
    catches = Catches(so_far, so_far.chosen)
    deliver(_data(catches), mutants_text(catches), as_json=as_json)


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


def _tested(
    subject: Subject,
    plain: PlainRun,
    suite: Suite,
    path: Path,
    workers: int,
    made: Sequence[Mutant],
    results: MutantResults,
    tests: Sequence[str],
    *,
    trial: bool = False,
) -> MutantResults:
    """The results with those of some mutants under some tests, written as they come."""
    from lazarus_probe.mutants.run import run_mutants

    def keep(so_far: MutantResults) -> None:
        so_far.write(path)
        _say(f"{len(so_far.mutants)} of {len(made)} mutants")

    chosen = plain.only(tests), suite.only(tests, plain.tests)
    return run_mutants(subject, *chosen, made, results, trial=trial, workers=workers, keep=keep)


def _trial(
    tested: Callable[..., MutantResults],
    plain: PlainRun,
    made: Sequence[Mutant],
    results: MutantResults,
    count: int,
) -> MutantResults:
    """The results with those of one mutant of each kind, and the claims that are chosen by them."""
    from lazarus_probe.mutants.results import Catches, choose

    if results.chosen:
        return results
    firsts = _one_of_each(made)
    cost = sum(results.costs.values())
    _say(f"{len(results.costs)} claims of {cost:.0f} s on one mutant of {len(firsts)} kinds ...")
    results = tested(firsts, results, [plain.tests[claim] for claim in results.costs], trial=True)
    chosen = choose(Catches(results, tuple(results.costs)), count)
    if not chosen:
        raise ValueError(
            "none of these claims catches any of these mutants: give others, or a larger --seconds"
        )
    return results.model_copy(update={"chosen": chosen})


def _rest(
    tested: Callable[..., MutantResults], plain: PlainRun, made: Sequence[Mutant], results: MutantResults
) -> MutantResults:
    """The results with those of all mutants, tested by the chosen claims."""
    cost = sum(results.costs[claim] for claim in results.chosen)
    _say(f"{len(results.chosen)} chosen claims of {cost:.0f} s: {', '.join(results.chosen)}")
    return tested(made, results, [plain.tests[claim] for claim in results.chosen])


def _one_of_each(made: Sequence[Mutant]) -> list[Mutant]:
    """One mutant of each kind, the first of the first kind, the second of the second: of different layers."""
    kinds = dict.fromkeys(mutant.kind for mutant in made)
    members = {kind: [mutant for mutant in made if mutant.kind == kind] for kind in kinds}
    return [of_kind[turn % len(of_kind)] for turn, of_kind in enumerate(members.values())]


def _made(subject: Subject, each: int, seed: int) -> list[Mutant]:
    """The mutants of a model, so many of each kind at most, those of one kind next to each other."""
    from lazarus_probe.mutants import forgetting_mutants, harmless_mutants, inner_mutants

    mutants = (
        *harmless_mutants(subject, seed),
        *inner_mutants(subject, seed),
        *forgetting_mutants(subject, seed),
    )
    of_kind: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        of_kind.setdefault(mutant.kind, []).append(mutant)
    return [mutant for members in of_kind.values() for mutant in _spread(members, each or len(members))]


def _spread(members: Sequence[Mutant], count: int) -> list[Mutant]:
    """So many mutants of a kind, which come layer by layer, as far apart as can be: the first and the last are in."""
    if count >= len(members):
        return list(members)
    last = len(members) - 1
    return [members[round(turn * last / max(count - 1, 1))] for turn in range(count)]


def _begun(
    subject: Subject, suite: Suite, path: Path, seconds: float, seed: int
) -> tuple[PlainRun, MutantResults]:
    """The run on the model itself, and the results so far, with the claims that are cheap enough."""
    from lazarus_probe.mutants.results import MutantResults, read_results
    from lazarus_probe.mutants.suite import run_plain

    known = read_results(path) if path.is_file() else None
    if known is not None and (known.fingerprint, known.seed) != (subject.fingerprint, seed):
        raise ValueError(
            f"{path} is of {known.model} with seed {known.seed}, another model or seed than this run: give another "
            "file with --results"
        )
    plain = run_plain(suite, str(subject.path), seed)
    if known is not None:
        if gone := [claim for claim in known.chosen or known.costs if claim not in plain.tests]:
            raise ValueError(
                f"{path} has results of {gone[0]!r}{' and others' if gone[1:] else ''}, which this "
                "suite does not decide: give the same claims, or another file with --results"
            )
        return plain, known
    scores = {
        claim for of in plain.side.claims.values() for claim, record in of.items() if record.score is not None
    }
    cheap = {test for test, cost in plain.seconds_by_test.items() if cost <= seconds}
    costs = {c: round(cost, 2) for c, cost in plain.costs.items() if c in scores and plain.tests[c] in cheap}
    if not costs:
        raise ValueError(
            f"no claim gave a number on {subject.name} in {seconds:g} s: give a larger --seconds"
        )
    return plain, MutantResults(model=subject.name, fingerprint=subject.fingerprint, seed=seed, costs=costs)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def _data(catches: Catches) -> dict[str, Any]:
    inner, harmless = (
        [(mutant, catches.by(mutant)) for mutant in made] for made in (catches.inner, catches.harmless)
    )
    return {
        "model": catches.results.model,
        "caught": sum(bool(by) for _, by in inner),
        "inner": len(inner),
        "alarms": sum(bool(by) for _, by in harmless),
        "harmless": len(harmless),
        "chosen": list(catches.claims),
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
    }
