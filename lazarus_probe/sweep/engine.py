"""A grid of interventions over many prompts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.dealt import dealt, owner
from lazarus_probe.subject.fast_gates import fast_gates
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.batch import Bucket, compute
from lazarus_probe.sweep.grid import Grid, Position, Positions, make_grid
from lazarus_probe.sweep.memory import bucket_limits, parse_bytes
from lazarus_probe.sweep.metrics import Answer, Metric, check_names, reader
from lazarus_probe.sweep.plan import Plan
from lazarus_probe.sweep.progress import bar
from lazarus_probe.sweep.result import Sweep, names_of
from lazarus_probe.sweep.routes import route_of
from lazarus_probe.sweep.sources import Donors, Mean, Resample, Source, tables
from lazarus_probe.sweep.table import PARTS, CellTable, digest

UNEVEN = 1.5  # times the mean load, at most, of the process that has most


def sweep(
    subject: Subject,
    targets: Sequence[Prompt],
    sites: Sequence[Site | str] = (),
    *,
    sources: Mapping[str, Source],
    metrics: Sequence[Metric | Answer],
    positions: Positions = "each",
    cells: Sequence[tuple[Site | str, Position]] | None = None,
    blend: float = 1.0,
    memory: str | int = "2GB",
    progress: bool = False,
    resume: str | Path | None = None,
) -> Sweep:
    """Patch each site at each position with each source, one at a time, and measure the model's output.

    Equal to one whole forward per cell, at a fraction of the cost: rows join a growing batch at the block where their
    run starts to differ, earlier positions come from the unpatched run, and cells that cannot differ are copied from
    it. `routes` tests which of these shortcuts hold for the model.

    Args:
        subject: the model.
        targets: P prompts of any lengths.
        sites: where to patch; see `Site`.
        sources: by name, what to patch in. `Donors` take prompts of other lengths with `equal_lengths=False`.
        metrics: what to measure.
        positions: "each" for a cell at every position; "last"; integers, of which negative ones count from each
            prompt's end and the others from its start; or "all" for one cell that acts on all positions at once,
            those generated for an `answer` included.
        cells: (site, position) pairs instead of `sites` and `positions`, as `screen` picks them.
        blend: share of the source's value in the patched value; the rest is the run's own. With 0 nothing changes,
            with 1 the value is replaced.
        memory: bytes, or a text such as "2GB", that the sweep may use above the model's own.
        progress: show a bar, where standard error is a terminal.
        resume: a file, kept up to date while the sweep runs, from which the same sweep resumes after an interruption.
            It stays when the sweep is done.

    Raises:
        ValueError: an empty grid, an unknown site or position, donors of other lengths than their targets, a token
            outside the vocabulary, too little memory, a `resume` file of another sweep, or one over processes.
        IndexError: a layer, head or position that does not exist.

    Example:
        >>> from lazarus_probe.sites import resid_post
        >>> from lazarus_probe.sweep import Donors, answer, logit_diff, sweep
        >>> result = sweep(
        ...     subject,
        ...     ["7+8=", "6+9="],
        ...     [resid_post(layer) for layer in range(subject.num_layers)],
        ...     sources={"product": Donors(["7*8=", "6*9="])},
        ...     metrics=[logit_diff(["56", "54"], ["15", "15"]), answer(max_tokens=4)],
        ... )
        >>> result.grid("logit_diff").shape  # (layers, positions)
        (8, 5)
        >>> result.at("answer", prompt="7+8=", source="product", site="resid_post.5").tolist()
        ['15', '15', '15', '15', '56']
    """
    if not 0 <= blend <= 1:
        raise ValueError(f"blend is {blend}; give a share from 0 to 1")
    if resume is not None and (subject.anatomy.ranks or subject.group):
        raise ValueError(
            f"resume={str(resume)!r}: a sweep that several processes compute starts anew, since these may read other "
            "states of the file; leave it out"
        )
    plan = _plan(subject, targets, sites, positions, cells, sources, metrics, blend)
    table = _table(plan, Path(resume) if resume is not None else None)
    cap = parse_bytes(memory)
    try:
        with bar(plan.cells(), progress) as advance, fast_gates(subject, subject.num_layers):
            buckets: Iterable[Bucket] = _buckets(plan, cap, table.done)
            if subject.group:
                buckets = _left_of_dealt(plan, list(buckets), table, advance)
            for bucket in buckets:
                compute(plan, bucket, table, advance)
                table.finished(bucket.prompts.tolist())
    finally:
        table.write()
    return Sweep(
        values=table.texts("values"),
        baseline=table.texts("baseline"),
        donors=table.texts("donors"),
        prompts=names_of(targets),
        sources=tuple(plan.sources),
        sites=plan.grid.sites,
        positions=plan.grid.positions,
        routes=tuple(plan.route.of(site) for site in plan.grid.sites),
    )


def _plan(
    subject: Subject,
    targets: Sequence[Prompt],
    sites: Sequence[Site | str],
    positions: Positions,
    cells: Sequence[tuple[Site | str, Position]] | None,
    sources: Mapping[str, Source],
    metrics: Sequence[Metric | Answer],
    blend: float,
) -> Plan:
    encoded = encode_all(subject, targets)
    if not encoded:
        raise ValueError("no targets to sweep; give at least one prompt")
    if not sources:
        raise ValueError("no sources to sweep; give at least one, such as {'zero': Zero()}")
    check_names(metrics)
    grid = make_grid(subject.anatomy, sites, positions, cells, [len(ids) for ids in encoded])
    answers = [metric for metric in metrics if isinstance(metric, Answer)]
    if answers and answers[0].stop and subject.tokenizer is None:
        raise ValueError(f"{subject.name} has no tokenizer to find stop strings with; leave stop= out")
    donors = {
        name: donors_of(subject, name, source, encoded) if isinstance(source, Donors) else None
        for name, source in sources.items()
    }
    _check_lengths(grid, donors, encoded)
    return Plan(
        subject=subject,
        targets=encoded,
        grid=grid,
        sources=dict(sources),
        donors=donors,
        tables={name: tables(source, name, grid.sites, subject.anatomy) for name, source in sources.items()},
        reader=reader(subject, [metric for metric in metrics if isinstance(metric, Metric)], len(encoded)),
        answer=answers[0] if answers else None,
        route=route_of(subject),
        blend=blend,
    )


def donors_of(
    subject: Subject, name: str, source: Donors, targets: Sequence[Sequence[int]]
) -> list[list[int]]:
    """Token ids of a source's prompts.

    Raises:
        ValueError: they are not one per target, or of other lengths than the targets where that is refused.
    """
    donors = encode_all(subject, source.prompts)
    if len(donors) != len(targets):
        raise ValueError(
            f"source {name!r} has {len(donors)} donors for {len(targets)} targets; give one per target"
        )
    for index, (donor, target) in enumerate(zip(donors, targets, strict=True)):
        if source.equal_lengths and len(donor) != len(target):
            raise ValueError(
                f"pair {index} of source {name!r}: the donor has {len(donor)} tokens and the target "
                f"{len(target)}; patch between prompts of equal length"
            )
    return donors


def _check_lengths(
    grid: Grid, donors: Mapping[str, Sequence[Sequence[int]] | None], targets: Sequence[Sequence[int]]
) -> None:
    """Refuse cells that need donors as long as their targets, where one is not."""
    strict = ["positions 'all'"] if "all" in grid.positions else []
    strict += [str(site) for site in grid.sites if site.kind in ("scores", "pattern")]
    for name, prompts in donors.items() if strict else ():
        for index, (donor, target) in enumerate(zip(prompts or (), targets, strict=False)):
            if len(donor) != len(target):
                raise ValueError(
                    f"pair {index} of source {name!r}: the donor has {len(donor)} tokens and the target {len(target)}; "
                    f"{strict[0]} can be patched between prompts of equal length only"
                )


def _buckets(plan: Plan, cap: int, done: NDArray[np.bool_]) -> Iterator[Bucket]:
    """Prompts of equal length that are not done, as many together as the memory allows."""
    todo = np.flatnonzero(~done)
    if not len(todo):
        return
    for indices, tokens in by_length([plan.targets[index] for index in todo.tolist()]):
        limits = bucket_limits(plan, tokens, cap)
        for begin in range(0, len(indices), limits.prompts):
            part = slice(begin, begin + limits.prompts)
            yield Bucket(todo[indices[part]], tokens[part], limits.rows)


def _are_even(buckets: Sequence[Bucket], size: int) -> bool:
    """Whether processes have about as much to compute if whole buckets are dealt, rather than the groups of each."""
    loads = [0] * size
    for index, bucket in enumerate(buckets):
        loads[owner(index, size)] += bucket.tokens.size
    return max(loads) * size <= UNEVEN * sum(loads)


def _left_of_dealt(
    plan: Plan, buckets: Sequence[Bucket], table: CellTable, advance: Callable[[int], None]
) -> Sequence[Bucket]:
    """Compute buckets in several processes where that is even, and return those that are left: none, or all."""
    if not _are_even(buckets, plan.subject.group.size()):
        return buckets

    def run(bucket: Bucket) -> dict[str, dict[str, NDArray[Any]]]:
        compute(plan, bucket, table, advance)
        return {
            part: {name: array[bucket.prompts] for name, array in table.texts(part).items()} for part in PARTS
        }

    for bucket, parts in zip(buckets, dealt(plan.subject, buckets, run), strict=True):
        for part, arrays in parts.items():
            for name, array in arrays.items():
                getattr(table, part)[name][bucket.prompts] = array
    return []


def _table(plan: Plan, path: Path | None) -> CellTable:
    """An empty table, or one filled from a file of an interrupted sweep."""
    shape = (len(plan.targets), len(plan.sources), *plan.grid.wanted.shape)
    names = [metric.name for metric in plan.reader.metrics]
    answers = [plan.answer.name] if plan.answer else []
    table = CellTable.empty(shape, names, answers, path=path, key=_key(plan) if path else {})
    table.read()
    return table


def _key(plan: Plan) -> dict[str, str]:
    sources: list[Any] = []
    for name, source in plan.sources.items():
        values = source.values if isinstance(source, Mean | Resample) else {}
        arrays = {str(site): np.array(mx.array(value).astype(mx.float32)) for site, value in values.items()}
        seed = getattr(source, "seed", 0)
        sources.append([name, type(source).__name__, seed, arrays, plan.donors[name] or []])
    metrics = [[metric.name, *ids] for metric, ids in zip(plan.reader.metrics, plan.reader.ids, strict=True)]
    return {
        "subject": plan.subject.fingerprint,
        "targets": digest(plan.targets),
        "sites": digest([str(site) for site in plan.grid.sites]),
        "positions": digest([str(position) for position in plan.grid.positions], plan.grid.wanted),
        "sources": digest(sources),
        "metrics": digest(metrics, repr(plan.answer)),
        "blend": digest(plan.blend),
    }
