"""Greedy generation for all rows of a batch, each with its intervention."""

# ruff: noqa: N806 - T is the name that the field gives to the length

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.subject.finite import is_finite, peak, refuse_new
from lazarus_probe.subject.generate import continuation, cut_at_stop, has_stop
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.branch import Batch
from lazarus_probe.sweep.caches import Past
from lazarus_probe.sweep.edits import Edit, edit_taps
from lazarus_probe.sweep.metrics import Answer
from lazarus_probe.sweep.record import Recorded
from lazarus_probe.taps import tapped

# Read again for every new token, as they were before they were edited.
REREAD = ("keys", "values")


def completed(base: Recorded, batch: Batch, caches: Sequence[Past]) -> list[Past]:
    """Caches with all layers of every row: those of the unpatched run where a row had not entered yet."""
    assert base.caches is not None  # noqa: S101 - own caches were recorded
    T = batch.tokens.shape[1]
    counts = np.searchsorted(batch.jobs.entry, np.arange(len(caches)), side="right")
    complete = []
    for cache, clean, count in zip(caches, base.caches, counts, strict=True):
        missing = clean.before(T, batch.jobs.prompt[count:])
        complete.append(cache.joined(missing) if 0 < count < len(batch.jobs) else cache if count else missing)
    return complete


def continued(
    subject: Subject, logits: mx.array, caches: Sequence[Any], batch: Batch, answer: Answer
) -> list[list[int]]:
    """New tokens of every row, beginning with the top of the logits (R, V); edits of all positions act on them too.

    A row ends at an end-of-sequence token, which is left out, or with a stop string. Rows that have ended are dropped
    where the caches are the sweep's own.
    """
    end, caches = batch.tokens.shape[1], list(caches)
    edits = [edit for edit in batch.edits if edit.at is None or edit.site.kind in REREAD]
    new: list[list[int]] = [[] for _ in range(len(batch.jobs))]
    ended, rows = np.zeros(len(new), dtype=bool), np.arange(len(new))
    for left in range(answer.max_tokens - 1, -1, -1):
        chosen, largest = mx.argmax(logits, axis=-1), peak(logits)
        mx.eval(chosen, largest)
        if not is_finite(largest):
            refuse_new(subject, [f"the edit at {edit.site}" for edit in edits])
        ids = np.array(chosen)
        _append(subject, answer, new, ended, zip(rows.tolist(), ids.tolist(), strict=True))
        going = ~ended[rows]
        if not left or not going.any():
            break
        if 2 * going.sum() <= len(rows) and all(isinstance(cache, Past) for cache in caches):
            caches = [cache.before(cache.offset, np.flatnonzero(going)) for cache in caches]
            edits = [remaining for edit in edits if (remaining := _of_rows(edit, going))]
            rows, ids = rows[going], ids[going]
        end += 1
        with tapped(edit_taps(subject.anatomy, edits, end)):
            logits = subject.model(mx.array(ids)[:, None], cache=caches)[:, -1]
    return new


def _append(
    subject: Subject,
    answer: Answer,
    new: list[list[int]],
    ended: NDArray[np.bool_],
    chosen: Iterable[tuple[int, int]],
) -> None:
    """Append a token to each row that has not ended, and mark the rows that end with it."""
    for row, token in chosen:
        ended[row] = ended[row] or token in subject.eos_token_ids
        if not ended[row]:
            new[row].append(token)
            ended[row] = bool(answer.stop) and has_stop(subject.decode(new[row]), answer.stop)


def _of_rows(edit: Edit, going: NDArray[np.bool_]) -> Edit | None:
    """An edit of only those rows of a batch that go on, numbered among themselves."""
    remaining = going[edit.rows]
    if not remaining.any():
        return None
    at = None if edit.at is None else edit.at[remaining]
    rows = (np.cumsum(going) - 1)[edit.rows[remaining]]
    return replace(edit, rows=rows, prompts=edit.prompts[remaining], at=at, taken=edit.taken[remaining])


def text_of(subject: Subject, prompt: list[int], new: list[int], answer: Answer) -> str:
    """The text of new tokens, up to the first stop string; a `CutText` where the limit ended it."""
    if subject.tokenizer is None:
        return " ".join(map(str, new))
    return cut_at_stop(continuation(subject, prompt, new), answer.stop, cut=len(new) == answer.max_tokens)
