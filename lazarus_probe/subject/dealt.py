"""Batches dealt to processes that have the whole model each: a process runs its own, and all go on with all results.

Whole batches are dealt, so each is computed as it is by one process alone, to the last bit. All processes run the same
program and meet in every exchange; so what decides which batches there are has to be the same in all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, overload

import mlx.core as mx
import numpy as np

from lazarus_probe.subject.one_run import data_group
from lazarus_probe.subject.packed import packed, unpacked
from lazarus_probe.taps import is_tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Batch = TypeVar("Batch")
Running = TypeVar("Running")
Result = TypeVar("Result")

NONE = -1

_alone = [False]  # whether this process runs something that the others do not
_exchanges = [0]


@overload
def dealt(subject: Subject, batches: Sequence[Batch], run: Callable[[Batch], Result]) -> list[Result]: ...


@overload
def dealt(
    subject: Subject,
    batches: Sequence[Batch],
    run: Callable[[Batch], Running],
    read: Callable[[Running], Result],
) -> list[Result]: ...


def dealt(
    subject: Subject,
    batches: Sequence[Any],
    run: Callable[[Any], Any],
    read: Callable[[Any], Any] | None = None,
) -> list[Any]:
    """The result of each batch, in their order.

    Batches of a subject loaded with `parallel="data"` are dealt to the processes, unless there is one batch, or the
    model is hooked: what hooks see would be in one process. What raises in one process is run again in all of them, so
    that it raises in all.

    Args:
        subject: the model.
        batches: what is to be run.
        run: starts a batch, and may leave it to mlx to compute.
        read: makes of what `run` returned a tree of arrays, texts and numbers. It is called after the next batch was
            started, so that mlx computes while that is prepared.

    Raises:
        RuntimeError: a batch failed in one process and not in another, or processes run different programs.
    """
    mine = list(range(len(batches)))
    group = None if len(batches) < 2 or _alone[0] or is_tapped(subject.model) else subject.group
    if group is None:
        return [result for _, result in _results(batches, mine, run, read)]
    own, data, failure = dict[int, Any](), b"", None
    mine = [index for index in mine if owner(index, group.size()) == group.rank()]
    with _by_itself():
        try:
            for index, result in _results(batches, mine, run, read):
                own[index] = result
            data = _packed(own)
        except Exception as error:  # raised below, in every process
            failure = error
    failed = NONE if failure is None else next((index for index in mine if index not in own), mine[-1])
    everything, first_failed = _exchanged(group, len(batches), own, data, failed)
    if first_failed == NONE:
        return [everything[index] for index in range(len(batches))]
    with _by_itself():
        list(_results(batches, [first_failed], run, read))
    raise RuntimeError(
        f"batch {first_failed} of {len(batches)} failed in one of {group.size()} processes, and not in process "
        f"{group.rank()}" + (f": {failure}" if failure else "")
    ) from failure


def owner(index: int, size: int) -> int:
    """Which process runs a batch: there and back again, since batches grow or shrink from the first to the last."""
    place = index % (2 * size)
    return place if place < size else 2 * size - 1 - place


def of_the_first(subject: Subject, number: float) -> float:
    """The first process' number in every process, for what they measure and have to decide alike."""
    if ranks := subject.anatomy.ranks:
        return ranks.first(number)
    if subject.group is None or _alone[0]:
        return number
    numbers: Any = mx.distributed.all_gather(mx.array([number]), group=subject.group).tolist()
    return float(numbers[0])


def read_by_the_first(read: Callable[[], Result]) -> Result:
    """What the first process of a run reads, in all processes: others may have no such file, or a newer one.

    Raises:
        RuntimeError: the first process cannot read it, which raises its own error.
    """
    group = data_group()
    if group is None or _alone[0]:
        return read()
    own, data, failure = dict[int, Any](), _packed({}), None
    if group.rank() == 0:
        try:
            own[0] = read()
            data = _packed(own)
        except Exception as error:
            failure = error
    results, failed = _exchanged(group, 1, own, data, NONE if failure is None else 0)
    if failure:
        raise failure
    if failed != NONE:
        raise RuntimeError("the first process could not read a file that all need; it says why")
    result: Result = results[0]
    return result


def _results(
    batches: Sequence[Any],
    chosen: Sequence[int],
    run: Callable[[Any], Any],
    read: Callable[[Any], Any] | None,
) -> Iterator[tuple[int, Any]]:
    waiting: list[tuple[int, Any]] = []
    for index in chosen:
        running = run(batches[index])
        if read is None:
            yield index, running
            continue
        yield from ((at, read(before)) for at, before in waiting)
        waiting = [(index, running)]
    yield from ((at, read(before)) for at, before in waiting if read)


def _packed(own: dict[int, Any]) -> bytes:
    return packed({str(index): result for index, result in own.items()})


def _exchanged(
    group: Any, count: int, own: dict[int, Any], data: bytes, failed: int
) -> tuple[dict[int, Any], int]:
    """The results of all processes by their batch, and the first batch that failed in any; none of either with it.

    Args:
        group: the processes.
        count: how many batches there are.
        own: this process's results.
        data: the same as bytes.
        failed: the batch that failed here, or `NONE`.
    """
    _exchanges[0] += 1
    header = mx.array([[_exchanges[0], count, failed, len(data)]], dtype=mx.int64)
    headers = np.array(mx.distributed.all_gather(header, group=group))
    if (headers[:, :2] != headers[0, :2]).any():
        raise RuntimeError(
            f"the {group.size()} processes run different programs: their exchanges and batches are "
            f"{headers[:, :2].tolist()}; all need the same prompts, seeds and versions"
        )
    failures = headers[:, 2][headers[:, 2] != NONE]
    if len(failures):
        return {}, int(failures.min())
    longest = int(headers[:, 3].max())
    block = np.zeros(longest, np.uint8)
    block[: len(data)] = np.frombuffer(data, np.uint8)
    blocks = np.array(mx.distributed.all_gather(mx.array(block)[None], group=group))
    results = dict(own)
    for rank, length in enumerate(headers[:, 3].tolist()):
        if rank != group.rank():
            others = unpacked(blocks[rank, :length].tobytes())
            results |= {int(index): result for index, result in others.items()}
    return results, NONE


@contextmanager
def _by_itself() -> Iterator[None]:
    before, _alone[0] = _alone[0], True
    try:
        yield
    finally:
        _alone[0] = before
