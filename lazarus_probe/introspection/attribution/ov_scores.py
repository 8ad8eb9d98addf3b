"""What heads write where they attend to a token: the token itself, its opposite, or the next of its sequence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.attribution.token_states import TokenReader, ov_outputs
from lazarus_probe.subject.control_models import ControlModel, built

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Scores = tuple[NDArray[Any], NDArray[Any]]
CircuitKind = Literal["copying", "suppressing", "successor"]
OvReader = Callable[["Subject | ControlModel"], Mapping[CircuitKind, Scores]]


def ov_scores(
    subject: Subject, rows: Mapping[CircuitKind, Sequence[Sequence[int]]]
) -> dict[CircuitKind, Scores]:
    """Scores and controls (R, layers, H) of all heads, by kind, in one pass over the tokens of all kinds.

    Args:
        subject: the model.
        rows: by kind, R rows of tokens: for "copying" the head names the token itself, which it raises most, for
            "suppressing" that which it lowers most, and for "successor" rows are ordered and it names the next.
    """
    of_kind = [(kind, row) for kind, of in rows.items() for row in of]
    tokens = np.unique(np.concatenate([np.asarray(row, dtype=np.int64) for _, row in of_kind]))
    reader = TokenReader(subject, tokens)
    places = [np.searchsorted(tokens, row) for _, row in of_kind]
    heads = max((part.heads.num_heads for part in subject.anatomy.parts if part.heads is not None), default=0)
    shape = (len(places), subject.num_layers, heads)
    scores, controls = np.full(shape, np.nan), np.full(shape, np.nan)
    for layer, outputs in ov_outputs(subject, tokens):
        normed = reader.normed(outputs)
        for number, ((kind, _), at) in enumerate(zip(of_kind, places, strict=True)):
            logits = normed[at] @ reader.rows[at].T
            score, control = NAMED[kind](logits)
            scores[number, layer, : len(score)], controls[number, layer, : len(score)] = score, control
    kinds = np.array([kind for kind, _ in of_kind])
    return {kind: (scores[kinds == kind], controls[kinds == kind]) for kind in rows}


def read_once(
    rows: Mapping[CircuitKind, Sequence[Sequence[int]]], kept: dict[str, dict[CircuitKind, Scores]]
) -> OvReader:
    """`ov_scores` of the rows of several kinds, in one pass over each model, for claims that ask about one kind each.

    Args:
        rows: by kind.
        kept: the scores of each model by its fingerprint, of these rows alone.
    """

    def read(model: Subject | ControlModel) -> dict[CircuitKind, Scores]:
        if model.fingerprint not in kept:
            kept[model.fingerprint] = ov_scores(built(model), rows)
        return kept[model.fingerprint]

    return read


def copied(logits: NDArray[Any]) -> Scores:
    """Share of T tokens (H,) that a head raises above all others of the row, from logits (T, H, T).

    The control is the share for which it raises the token that follows in the row, at random.
    """
    best, own = sole_best(logits), np.arange(len(logits))[:, None]
    return (best == own).mean(axis=0), (best == (own + 1) % len(logits)).mean(axis=0)


def suppressed(logits: NDArray[Any]) -> Scores:
    """As `copied`, where a head lowers the token below all others."""
    return copied(-logits)


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


NAMED: Mapping[CircuitKind, Callable[[NDArray[Any]], Scores]] = {
    "copying": copied,
    "suppressing": suppressed,
    "successor": counted,
}
