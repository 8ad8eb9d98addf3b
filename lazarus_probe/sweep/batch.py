"""Computing all cells of some prompts of equal length."""

# ruff: noqa: N806 - B, S and T are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, NoReturn

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.subject.batches import by_length
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.finite import NotFinite, refuse, require_finite
from lazarus_probe.sweep.branch import Batch, run_branch, run_full
from lazarus_probe.sweep.chosen_tokens import ChosenTokens, chosen_tokens
from lazarus_probe.sweep.edits import edit_taps, edits_of
from lazarus_probe.sweep.generate import completed, continued, text_of
from lazarus_probe.sweep.grid import ALL, Jobs, grouped, make_jobs
from lazarus_probe.sweep.plan import Plan
from lazarus_probe.sweep.record import Recorded
from lazarus_probe.sweep.sources import Values
from lazarus_probe.sweep.table import CellTable
from lazarus_probe.taps import tapped

# Tokens in a batch: matrix products gain little beyond, and more rows would start earlier than they have to.
TOKENS = 512
# A batch that generates runs once for every new token, so more rows share that.
TOKENS_GENERATING = 4096

# Read along with the metrics: the largest logit of every row, which is finite exactly where its logits are usable.
# Where those of chosen tokens are computed alone it is the largest of these.
PEAK = "largest logit"

Advance = Callable[[int], None]
# By source, the token ids of its prompt for each prompt of a bucket.
Donated = Mapping[str, Sequence[Sequence[int]]]


@dataclass(frozen=True, eq=False)
class Bucket:
    """Prompts of equal length.

    Attributes:
        prompts: (B,) which of the sweep's targets.
        tokens: (B, T).
        rows: that may run together at most.
    """

    prompts: NDArray[np.intp]
    tokens: mx.array
    rows: int


@dataclass(frozen=True, eq=False)
class _Work:
    """A bucket with the unpatched runs of its prompts."""

    plan: Plan
    bucket: Bucket
    table: CellTable
    base: Recorded
    values: Sequence[Values]
    chosen: ChosenTokens | None


@dataclass(frozen=True, eq=False)
class _Group:
    """Rows that run together, in whole forwards or not."""

    jobs: Jobs
    is_full: bool


@dataclass(frozen=True, eq=False)
class _Running:
    """A group's rows with their metrics, which mlx computes, and their answers by the metric's name."""

    jobs: Jobs
    numbers: Mapping[str, mx.array]
    texts: Mapping[str, list[str]]


def compute(plan: Plan, bucket: Bucket, table: CellTable, advance: Advance) -> None:
    """Compute a bucket's cells and store them in the table."""
    T = bucket.tokens.shape[1]
    donors = {
        name: [prompts[index] for index in bucket.prompts]
        for name, prompts in plan.donors.items()
        if prompts is not None
    }
    equal = {name: mx.array(ids) for name, ids in donors.items() if {len(row) for row in ids} == {T}}
    base, runs = plan.record(bucket.tokens, equal)
    runs |= {name: plan.record_unequal(ids) for name, ids in donors.items() if name not in equal}
    mx.eval(base.arrays(), *(run.arrays() for run in runs.values()))
    values = [
        Values(
            source,
            plan.tables[name],
            bucket.prompts,
            T,
            runs[name].values if name in runs else {},
            plan.blend,
        )
        for name, source in plan.sources.items()
    ]
    tokens = None if plan.answer else plan.reader.tokens(bucket.prompts)
    chosen = None if tokens is None else chosen_tokens(plan.subject, tokens)
    work = _Work(plan, bucket, table, base, values, chosen)
    jobs, idle = make_jobs(
        plan.grid,
        T,
        plan.taken(bucket.prompts),
        _differs(work, equal),
        plan.entries.tolist(),
        plan.ends,
    )
    _read_unpatched(work, donors, runs)
    _run_all(work, jobs, advance)
    _answer_donors(work, donors)
    cells = _cells(work, idle)
    for name, numbers in table.values.items():
        numbers[cells] = table.baseline[name][cells[0]]
    advance(len(idle))


def _differs(work: _Work, equal: Mapping[str, mx.array]) -> NDArray[np.intp]:
    """(B, S) the first position where a source's prompt of equal length differs from the target; 0 for others."""
    targets = np.array(work.bucket.tokens)
    B, T = targets.shape
    first = np.zeros((B, len(work.plan.sources)), dtype=np.intp)
    for column, name in enumerate(work.plan.sources):
        if name in equal and work.plan.route.causal:
            unequal = np.array(equal[name]) != targets
            first[:, column] = np.where(unequal.any(axis=1), unequal.argmax(axis=1), T)
    return first


def _read_unpatched(work: _Work, donors: Donated, runs: Mapping[str, Recorded]) -> None:
    """Store the metrics of the targets and of the donors."""
    prompts, base = work.bucket.prompts, work.base.logits
    require_finite(work.plan.subject, work.bucket.tokens, base)
    for name, numbers in work.plan.reader.read(base, base, prompts).items():
        work.table.baseline[name][prompts] = np.array(numbers)
    for column, source in enumerate(work.plan.sources):
        if source in runs:
            for rows, tokens in by_length(donors[source]):
                require_finite(work.plan.subject, tokens, runs[source].logits[mx.array(rows)])
            for name, numbers in work.plan.reader.read(runs[source].logits, base, prompts).items():
                work.table.donors[name][prompts, column] = np.array(numbers)


def _run_all(work: _Work, jobs: Jobs, advance: Advance) -> None:
    plan, T = work.plan, work.bucket.tokens.shape[1]
    whole_forwards = plan.answer is not None and not plan.route.own
    full = np.array([whole_forwards or plan.route.of(site) == "full" for site in plan.grid.sites])[jobs.site]
    parts = {False: jobs.chosen(~full), True: jobs.chosen(full)}
    if plan.answer:
        unpatched = Jobs.unpatched(np.arange(len(work.bucket.prompts)), plan.subject.num_layers, T)
        parts[whole_forwards] = Jobs.joined([parts[whole_forwards], unpatched])
    tokens = TOKENS_GENERATING if plan.answer else TOKENS
    groups = [
        _Group(part.chosen(rows), is_full)
        for is_full, part in parts.items()
        for rows in grouped(part, T, tokens, work.bucket.rows)
    ]

    def run(group: _Group) -> _Running:
        return _run(work, group.jobs, group.is_full)

    def read(running: _Running) -> dict[str, Any]:
        _require_finite(work, running.jobs, running.numbers)
        advance(int((running.jobs.site >= 0).sum()))
        numbers = {name: np.array(array) for name, array in running.numbers.items() if name != PEAK}
        return {**numbers, **running.texts}

    # While mlx computes one group, the graph of the next is built.
    results = dealt(plan.subject, groups, run, read)
    for group, columns in zip(groups, results, strict=True):
        _store(work, group.jobs, columns)


def _run(work: _Work, jobs: Jobs, is_full: bool) -> _Running:
    """A group's rows, still being computed but for the answers."""
    plan, own, anatomy = work.plan, work.plan.route.own, work.plan.subject.anatomy
    edits = edits_of(jobs, plan.grid.sites, work.values)
    batch = Batch(jobs, edits, work.bucket.tokens, plan.route.adds_mlp)
    caches: Sequence[Any]
    chosen = None if is_full else work.chosen
    with chosen.alone() if chosen else nullcontext():
        if is_full:
            logits, caches = run_full(anatomy, batch)
        else:
            logits, caches = run_branch(anatomy, work.base, batch, own=own, tail=plan.route.tail)
    reader, before = plan.reader, work.base.logits[mx.array(jobs.prompt)]
    if chosen:
        if logits.shape[-1] != len(chosen.tokens):  # columns would be read as those of other tokens
            raise RuntimeError(f"{logits.shape[-1]} logits a row for {len(chosen.tokens)} tokens")
        reader, before = reader.among(chosen.tokens), before[:, mx.array(chosen.tokens)]
    numbers = reader.read(logits, before, work.bucket.prompts[jobs.prompt])
    numbers[PEAK] = logits.max(axis=-1)
    mx.async_eval(numbers)  # type: ignore[no-untyped-call]
    if not plan.answer:
        return _Running(jobs, numbers, {})
    _require_finite(work, jobs, numbers)
    caches = caches if is_full else completed(work.base, batch, caches)
    return _Running(jobs, numbers, {plan.answer.name: _answers(plan, logits, caches, batch)})


def _store(work: _Work, jobs: Jobs, columns: Mapping[str, Any]) -> None:
    """Put a group's numbers and answers (R,) into the table."""
    patched = jobs.site >= 0
    cells, unpatched = _cells(work, jobs.chosen(patched)), work.bucket.prompts[jobs.prompt[~patched]]
    for name, column in columns.items():
        values = np.array(column, dtype=work.table.values[name].dtype)
        work.table.values[name][cells] = values[patched]
        if len(unpatched) and work.plan.answer and name == work.plan.answer.name:
            work.table.baseline[name][unpatched] = values[~patched]


def _require_finite(work: _Work, jobs: Jobs, numbers: Mapping[str, mx.array]) -> None:
    finite = np.isfinite(np.array(numbers[PEAK].astype(mx.float32)))
    if not finite.all():
        _refuse(work, jobs.chosen(np.flatnonzero(~finite)[:1]))


def _refuse(work: _Work, job: Jobs) -> NoReturn:
    """Run one cell again to report the first value in it that is not finite."""
    plan, (prompt,), (site,), (at,) = work.plan, job.prompt, job.site, job.at
    tokens = work.bucket.tokens[mx.array([int(prompt)])]
    edits = edits_of(job, plan.grid.sites, work.values)
    try:
        with tapped(edit_taps(plan.subject.anatomy, edits, tokens.shape[1])):
            refuse(plan.subject, tokens, f"logits for prompt {work.bucket.prompts[prompt]}")
    except NotFinite as error:
        if site >= 0:
            source = list(plan.sources)[int(job.source[0])]
            position = "all positions" if at == ALL else f"position {at}"
            error.edits.append(f"source {source!r} at {plan.grid.sites[site]}, {position}")
        raise


def _cells(work: _Work, jobs: Jobs) -> tuple[NDArray[np.intp], ...]:
    return (work.bucket.prompts[jobs.prompt], jobs.source, jobs.site, jobs.column)


def _answers(plan: Plan, logits: mx.array, caches: Sequence[Any], batch: Batch) -> list[str]:
    assert plan.answer  # noqa: S101 - called only where a sweep has an answer
    new = continued(plan.subject, logits, caches, batch, plan.answer)
    ids: Any = batch.tokens.tolist()
    return [
        text_of(plan.subject, ids[prompt], row, plan.answer)
        for prompt, row in zip(batch.jobs.prompt, new, strict=True)
    ]


def _answer_donors(work: _Work, donors: Donated) -> None:
    """Store the donors' own answers, if the sweep has an answer."""
    plan = work.plan
    if plan.answer is None:
        return
    for column, name in enumerate(plan.sources):
        for rows, tokens in by_length(donors[name]) if name in donors else ():
            jobs = Jobs.unpatched(np.arange(len(rows)), plan.subject.num_layers, tokens.shape[1])
            batch = Batch(jobs, [], tokens)
            texts = _answers(plan, *run_full(plan.subject.anatomy, batch), batch)
            work.table.donors[plan.answer.name][work.bucket.prompts[rows], column] = texts
