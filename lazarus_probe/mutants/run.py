"""Runs a suite on every mutant of a model, several in one process, and keeps what came of them as they end."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from lazarus_probe.mutants.agreement import agreement, benchmark_texts, first_choices
from lazarus_probe.mutants.mutant import Mutant, weights_of, write_mutant
from lazarus_probe.mutants.readings import readings
from lazarus_probe.mutants.results import MutantResult, MutantResults
from lazarus_probe.mutants.suite import PlainRun, Suite, run_models
from lazarus_probe.reports.versions.compare import compare_runs
from lazarus_probe.reports.versions.matrix import of_model
from lazarus_probe.reports.versions.sides import Side, run_side
from lazarus_probe.subject.subject import Subject

# Mutants of a process: python and libraries take as long to start as a small model's suite to run.
TOGETHER = 8
BYTES = 2**30  # of checkpoints on disk at once


@dataclass(frozen=True)
class Group:
    """Mutants that run in one process, and the share of first choices that each keeps.

    Attributes:
        models: what pytest is given, one a mutant.
    """

    mutants: tuple[Mutant, ...]
    models: tuple[str, ...]
    agreements: tuple[float | None, ...]


def run_mutants(
    subject: Subject,
    plain: PlainRun,
    suite: Suite,
    mutants: Sequence[Mutant],
    results: MutantResults,
    *,
    trial: bool = False,
    workers: int = 1,
    keep: Callable[[MutantResults], None] = lambda _: None,
) -> MutantResults:
    """Run a suite on every mutant that has no result yet.

    Args:
        subject: the model, from a checkpoint folder.
        plain: the suite on the model itself.
        suite: the claims.
        mutants: of the model.
        results: so far.
        trial: whether claims are to be chosen by these mutants.
        workers: processes at once.
        keep: called with the results whenever there are more.

    Raises:
        ValueError: as `run_models` and `write_mutant`.
    """
    done = {result.name for result in results.mutants}
    left = [mutant for mutant in mutants if mutant.name not in done]
    with (
        tempfile.TemporaryDirectory(prefix="lazarus-mutants-") as folder,
        ThreadPoolExecutor(workers) as pool,
    ):
        waiting: set[Future[list[MutantResult]]] = set()
        for group in _groups(subject, left, Path(folder), workers):
            waiting.add(pool.submit(_run_group, group, plain, suite, results.seed, trial))
            if len(waiting) >= workers:
                results, waiting = _collected(results, waiting, keep)
        while waiting:
            results, waiting = _collected(results, waiting, keep)
    return results


def _collected(
    results: MutantResults, waiting: set[Future[list[MutantResult]]], keep: Callable[[MutantResults], None]
) -> tuple[MutantResults, set[Future[list[MutantResult]]]]:
    """The results with those of the groups that have ended, at least one, and the groups that still run."""
    ended, running = wait(waiting, return_when=FIRST_COMPLETED)
    new = [result for group in ended for result in group.result()]
    results = results.model_copy(update={"mutants": (*results.mutants, *new)})
    keep(results)
    return results, running


def _groups(subject: Subject, mutants: Sequence[Mutant], folder: Path, workers: int) -> Iterator[Group]:
    """The mutants in groups, written when their turn comes; those that need a process of their own come last."""
    changed = [mutant for mutant in mutants if mutant.change is not None]
    texts = benchmark_texts(subject)
    before = first_choices(subject, texts)
    size = sum(value.nbytes for value in weights_of(subject).values())
    together = max(1, min(TOGETHER, BYTES // (size * (workers + 1))))
    for start in range(0, len(changed), together):
        members = changed[start : start + together]
        models, agreements = [], []
        for number, mutant in enumerate(members, start):
            path = write_mutant(subject, mutant, folder / f"mutant-{number}")
            models.append(str(path))
            agreements.append(agreement(before, first_choices(Subject.load(str(path)), texts)))
        yield Group(tuple(members), tuple(models), tuple(agreements))
    for mutant in mutants:
        if mutant.change is None:
            yield Group((mutant,), (str(subject.path),), (None,))


def _run_group(group: Group, plain: PlainRun, suite: Suite, seed: int, trial: bool) -> list[MutantResult]:
    """The results of a group; its checkpoints are taken away."""
    first, start = group.mutants[0], time.monotonic()
    seeds = () if "--probe-seed" in first.arguments else ("--probe-seed", str(seed))
    run = run_models(suite, group.models, (*seeds, *first.arguments), first.environment)
    seconds = (time.monotonic() - start) / len(group.mutants)
    for mutant, model in zip(group.mutants, group.models, strict=True):
        if mutant.change is not None:
            shutil.rmtree(model, ignore_errors=True)
    side = run_side(run, "mutants")
    return [
        MutantResult(
            kind=mutant.kind,
            place=mutant.place,
            harmless=mutant.harmless,
            agreement=share,
            trial=trial,
            seconds=round(seconds, 1),
            readings=readings(compare_runs(plain.side, _of_one(side, Path(model).name))),
        )
        for mutant, model, share in zip(group.mutants, group.models, group.agreements, strict=True)
    ]


def _of_one(side: Side, model: str) -> Side:
    """What a side holds of a model, of which all tests may have broken."""
    if model in side.models:
        return of_model(side, model)
    broken = tuple(test for test in side.broken if test.model == model)
    return replace(side, models={}, claims={}, broken=broken)
