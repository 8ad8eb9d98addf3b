"""Letting all rows of a batch go on greedily, each with its intervention."""

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
    """Caches in which every row has all layers: where a row had not entered yet, those of the untouched run."""
    assert base.caches is not None  # noqa: S101 - own caches were recorded
    T = batch.tokens.shape[1]
    counts = np.searchsorted(batch.jobs.entry, np.arange(len(caches)), side="right")
    found = []
    for cache, clean, count in zip(caches, base.caches, counts, strict=True):
        missing = clean.before(T, batch.jobs.prompt[count:])
        found.append(_joined(cache, missing) if 0 < count < len(batch.jobs) else cache if count else missing)
    return found


def _joined(cache: Past, more: Past) -> Past:
    keys, values = ([getattr(one, name) for one in (cache, more)] for name in ("keys", "values"))
    return Past(cache.window, mx.concatenate(keys), mx.concatenate(values))


def continued(
    subject: Subject, logits: mx.array, caches: Sequence[Any], batch: Batch, answer: Answer
) -> list[list[int]]:
    """New tokens of every row, the one that the logits (R, V) choose first; edits of all positions go on acting.

    A row ends at an end-of-sequence token, which is left out, or with a stop string. Rows that ended leave the batch
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
            caches = [cache.chosen(np.flatnonzero(going)) for cache in caches]
            edits = [kept for edit in edits if (kept := _of_rows(edit, going))]
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
    """Append each row's token unless the row has ended, and mark the rows that end with it."""
    for row, token in chosen:
        ended[row] = ended[row] or token in subject.eos_token_ids
        if not ended[row]:
            new[row].append(token)
            ended[row] = bool(answer.stop) and has_stop(subject.decode(new[row]), answer.stop)


def _of_rows(edit: Edit, going: NDArray[np.bool_]) -> Edit | None:
    """An edit in a batch of which only some rows are left."""
    kept = going[edit.rows]
    if not kept.any():
        return None
    place = np.cumsum(going) - 1
    at = None if edit.at is None else edit.at[kept]
    rows, prompts = place[edit.rows[kept]], edit.prompts[kept]
    return replace(edit, rows=rows, prompts=prompts, at=at, taken=edit.taken[kept])


def text_of(subject: Subject, prompt: list[int], new: list[int], answer: Answer) -> str:
    """The text of new tokens, up to the first stop string."""
    if subject.tokenizer is None:
        return " ".join(map(str, new))
    return cut_at_stop(continuation(subject, prompt, new), answer.stop)
