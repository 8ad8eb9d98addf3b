"""What heads write where they attend to a token: the token itself (copying), or the next of its sequence."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.attribution.token_states import TokenReader, ov_outputs

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Scores = tuple[NDArray[Any], NDArray[Any]]


def ov_scores(
    subject: Subject, rows: NDArray[np.int32], sequences: Sequence[Sequence[int]]
) -> tuple[Scores, Scores | None]:
    """Copying scores and controls (R, layers, H) of rows (R, T), and successor scores of S sequences (S, layers, H)."""
    every = np.unique(np.concatenate([rows.ravel(), *(np.asarray(s, dtype=np.int64) for s in sequences)]))
    reader = TokenReader(subject, every)
    places = [np.searchsorted(every, row) for row in (*rows, *sequences)]
    parts = subject.anatomy.parts
    heads = max(part.heads.num_heads for part in parts if part.heads is not None)
    shape = (len(places), subject.num_layers, heads)
    scores, controls = np.full(shape, np.nan), np.full(shape, np.nan)
    for layer, outputs in ov_outputs(subject, every):
        normed = reader.normed(outputs)
        for number, at in enumerate(places):
            of_row = copied if number < len(rows) else counted
            score, control = of_row(normed[at] @ reader.rows[at].T)
            scores[number, layer, : len(score)], controls[number, layer, : len(score)] = score, control
    copying = scores[: len(rows)], controls[: len(rows)]
    return copying, (scores[len(rows) :], controls[len(rows) :]) if len(sequences) else None


def copied(logits: NDArray[Any]) -> Scores:
    """Share of T tokens (H,) that a head raises above all others of the row, from logits (T, H, T).

    The control is the share for which it raises the token that follows in the row, at random.
    """
    best, own = sole_best(logits), np.arange(len(logits))[:, None]
    return (best == own).mean(axis=0), (best == (own + 1) % len(logits)).mean(axis=0)


def counted(logits: NDArray[Any]) -> Scores:
    """Share of a sequence's T tokens but the last (H,) for which a head raises the next most, from logits (T, H, T).

    The control is the mean share of each other token of the sequence, the token itself left out.
    """
    best, own = sole_best(logits[:-1]), np.arange(len(logits) - 1)[:, None]
    others = (best >= 0) & (best != own) & (best != own + 1)
    return (best == own + 1).mean(axis=0), others.mean(axis=0) / (len(logits) - 2)


def sole_best(logits: NDArray[Any]) -> NDArray[np.intp]:
    """The index of the largest along the last axis, and -1 where several are: a head that adds nothing names none."""
    largest = logits.max(axis=-1, keepdims=True)
    return np.where((logits == largest).sum(axis=-1) == 1, logits.argmax(axis=-1), -1)
