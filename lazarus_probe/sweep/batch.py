"""Computing all cells of some prompts of equal length."""

# ruff: noqa: N806 - B, S and T are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.subject.batches import by_length
from lazarus_probe.subject.finite import NotFinite, refuse, require_finite
from lazarus_probe.sweep.branch import Batch, run_branch
from lazarus_probe.sweep.edits import edit_taps, edits_of
from lazarus_probe.sweep.full import run_full
from lazarus_probe.sweep.generate import completed, continued, text_of
from lazarus_probe.sweep.grid import ALL, Jobs, grouped, make_jobs
from lazarus_probe.sweep.metrics import Answer
from lazarus_probe.sweep.plan import Plan
from lazarus_probe.sweep.record import Recorded
from lazarus_probe.sweep.sources import Values
from lazarus_probe.sweep.table import Table
from lazarus_probe.taps import tapped

# Tokens in a batch: matrix products gain little beyond, and more rows would start earlier than they have to.
TOKENS = 512
# A batch that generates runs once for every new token, so more rows share that.
TOKENS_GENERATING = 4096

# Beside the metrics, the largest logit of every row: finite exactly where the logits say something.
PEAK = "largest logit"

Advance = Callable[[int], None]
# By the name of a source, the token ids of its prompt for each prompt of a bucket.
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
    """A bucket whose prompts have been run untouched."""

    plan: Plan
    bucket: Bucket
    table: Table
    base: Recorded
    values: Sequence[Values]


def computed(plan: Plan, bucket: Bucket, table: Table, advance: Advance) -> None:
    """Fill a bucket's part of the table."""
    donors = {
        name: [given[index] for index in bucket.prompts]
        for name, given in plan.donors.items()
        if given is not None
    }
    equal = {name: mx.array(ids) for name, ids in donors.items() if _lengths(ids) == {bucket.tokens.shape[1]}}
    base, runs = plan.record(bucket.tokens, equal)
    runs |= {name: plan.record_unequal(ids) for name, ids in donors.items() if name not in equal}
    mx.eval(base.arrays(), *(run.arrays() for run in runs.values()))
    values = [_values(plan, bucket, name, runs.get(name)) for name in plan.sources]
    work = _Work(plan, bucket, table, base, values)
    jobs, idle = make_jobs(
        plan.grid,
        bucket.tokens.shape[1],
        plan.taken(bucket.prompts),
        _differs(work, equal),
        plan.entries.tolist(),
        plan.ends,
    )
    _read_untouched(work, donors, runs)
    _run_all(work, jobs, advance)
    if plan.answer:
        _answer_donors(work, plan.answer, donors)
    _copy_untouched(work, idle)
    advance(len(idle))


def _lengths(prompts: Sequence[Sequence[int]]) -> set[int]:
    return {len(ids) for ids in prompts}


def _values(plan: Plan, bucket: Bucket, name: str, run: Recorded | None) -> Values:
    found = run.values if run else {}
    return Values(
        plan.sources[name], plan.tables[name], bucket.prompts, bucket.tokens.shape[1], found, plan.blend
    )


def _differs(work: _Work, equal: Mapping[str, mx.array]) -> NDArray[np.intp]:
    """(B, S) the first position where a source's prompt of equal length differs from the target; 0 for others."""
    targets = np.array(work.bucket.tokens)
    B, T = targets.shape
    found = np.zeros((B, len(work.plan.sources)), dtype=np.intp)
    for column, name in enumerate(work.plan.sources):
        if name in equal and work.plan.route.causal:
            unequal = np.array(equal[name]) != targets
            found[:, column] = np.where(unequal.any(axis=1), unequal.argmax(axis=1), T)
    return found


def _read_untouched(work: _Work, donors: Donated, runs: Mapping[str, Recorded]) -> None:
    """Metrics of the targets and of the donors, as they are."""
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
    full = np.array([_is_full(plan, site) for site in range(len(plan.grid.sites))])[jobs.site]
    parts = [(False, jobs.chosen(~full)), (True, jobs.chosen(full))]
    if plan.answer:
        rest = Jobs.untouched(np.arange(len(work.bucket.prompts)), plan.subject.num_layers, T)
        parts[not plan.route.own] = (not plan.route.own, Jobs.joined([parts[not plan.route.own][1], rest]))
    waiting: list[tuple[Jobs, dict[str, mx.array]]] = []
    for whole, part in parts:
        for rows in grouped(part, T, TOKENS_GENERATING if plan.answer else TOKENS, work.bucket.rows):
            group = part.chosen(rows)
            waiting.append((group, _run(work, group, whole)))
            # While mlx computes one group, the graph of the next is built.
            for done, numbers in waiting[:-1]:
                _store(work, done, numbers, advance)
            del waiting[:-1]
    for done, numbers in waiting:
        _store(work, done, numbers, advance)


def _is_full(plan: Plan, site: int) -> bool:
    generates = plan.answer is not None and not plan.route.own
    return generates or plan.route.of(plan.grid.sites[site]) == "full"


def _run(work: _Work, jobs: Jobs, whole: bool) -> dict[str, mx.array]:
    """Metrics of a group's rows, on their way; the answers are stored at once."""
    plan, own, anatomy = work.plan, work.plan.route.own, work.plan.subject.anatomy
    edits = edits_of(jobs, plan.grid.sites, work.values)
    batch = Batch(jobs, edits, work.bucket.tokens, plan.route.adds_mlp)
    caches: Sequence[Any]
    if whole:
        logits, caches = run_full(anatomy, batch)
    else:
        logits, caches = run_branch(anatomy, work.base, batch, own=own, tail=plan.route.tail)
    numbers = plan.reader.read(
        logits, work.base.logits[mx.array(jobs.prompt)], work.bucket.prompts[jobs.prompt]
    )
    numbers[PEAK] = logits.max(axis=-1)
    mx.async_eval(numbers)  # type: ignore[no-untyped-call]
    if plan.answer:
        _require_finite(work, jobs, numbers)
        caches = caches if whole else completed(work.base, batch, caches)
        _store_answers(work, batch, continued(plan.subject, logits, caches, batch, plan.answer))
    return numbers


def _store(work: _Work, jobs: Jobs, numbers: Mapping[str, mx.array], advance: Advance) -> None:
    touched = jobs.site >= 0
    _require_finite(work, jobs, numbers)
    for name, array in numbers.items():
        if name == PEAK:
            continue
        work.table.values[name][_places(work, jobs.chosen(touched))] = np.array(array)[touched]
    advance(int(touched.sum()))


def _require_finite(work: _Work, jobs: Jobs, numbers: Mapping[str, mx.array]) -> None:
    finite = np.isfinite(np.array(numbers[PEAK].astype(mx.float32)))
    if not finite.all():
        _refuse(work, jobs.chosen(np.flatnonzero(~finite)[:1]))


def _refuse(work: _Work, job: Jobs) -> NoReturn:
    """Run one cell again and say where in it the first value is that is not finite."""
    plan, (prompt,), (site,), (at,) = work.plan, job.prompt, job.site, job.at
    tokens = work.bucket.tokens[mx.array([int(prompt)])]
    edits = edits_of(job, plan.grid.sites, work.values)
    try:
        with tapped(edit_taps(plan.subject.anatomy, edits, tokens.shape[1])):
            refuse(plan.subject, tokens, f"logits for prompt {work.bucket.prompts[prompt]}")
    except NotFinite as error:
        if site >= 0:
            source = list(plan.sources)[int(job.source[0])]
            place = "all positions" if at == ALL else f"position {at}"
            error.edits.append(f"source {source!r} at {plan.grid.sites[site]}, {place}")
        raise


def _places(work: _Work, jobs: Jobs) -> tuple[NDArray[np.intp], ...]:
    return (work.bucket.prompts[jobs.prompt], jobs.source, jobs.site, jobs.column)


def _store_answers(work: _Work, batch: Batch, new: Sequence[list[int]]) -> None:
    plan, jobs = work.plan, batch.jobs
    assert plan.answer  # noqa: S101 - there is something to store
    texts = np.array(_texts(plan, plan.answer, batch.tokens, jobs.prompt, new), dtype=object)
    touched, name = jobs.site >= 0, plan.answer.name
    work.table.values[name][_places(work, jobs.chosen(touched))] = texts[touched]
    work.table.baseline[name][work.bucket.prompts[jobs.prompt[~touched]]] = texts[~touched]


def _texts(
    plan: Plan, answer: Answer, tokens: mx.array, prompts: NDArray[np.intp], new: Sequence[list[int]]
) -> list[str]:
    ids: Any = tokens.tolist()
    return [text_of(plan.subject, ids[prompt], row, answer) for prompt, row in zip(prompts, new, strict=True)]


def _answer_donors(work: _Work, answer: Answer, donors: Donated) -> None:
    plan, table = work.plan, work.table.donors[answer.name]
    for column, name in enumerate(plan.sources):
        for rows, tokens in by_length(donors[name]) if name in donors else ():
            prompts = np.arange(len(rows))
            jobs = Jobs.untouched(prompts, plan.subject.num_layers, tokens.shape[1])
            batch = Batch(jobs, [], tokens)
            logits, caches = run_full(plan.subject.anatomy, batch)
            new = continued(plan.subject, logits, caches, batch, answer)
            table[work.bucket.prompts[rows], column] = _texts(plan, answer, tokens, prompts, new)


def _copy_untouched(work: _Work, idle: Jobs) -> None:
    places = _places(work, idle)
    for name, values in work.table.values.items():
        values[places] = work.table.baseline[name][places[0]]
