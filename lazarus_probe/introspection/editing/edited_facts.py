"""Facts edited at several layers, each edit alone: what follows the prompt, other wordings and other subjects then."""

# ruff: noqa: N806 - D, F, K and P are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.editing.fact_prompts import FactPrompts
from lazarus_probe.introspection.editing.rank_one import (
    STEPS,
    fitted_changes,
    key_moments,
    rank_one,
    read_directions,
)
from lazarus_probe.introspection.patching.resumed_runs import entering, resumed_logits
from lazarus_probe.subject.batches import Prompt, by_length
from lazarus_probe.subject.finite import require_finite

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

TOKENS = 1024  # of a batch, whose residual streams at every edited layer are held at once


@dataclass(frozen=True, eq=False)
class Edits:
    """The rank-one edits of P facts at K layers: W + u v^T each.

    Attributes:
        layers: (K,).
        changes: (K, P, D) u, what is added to the value.
        directions: by layer (P, F) v, which is 1 at the fact's key; zeros where the block gives the key no neuron.
    """

    layers: tuple[int, ...]
    changes: NDArray[np.float64]
    directions: tuple[NDArray[np.float64], ...]

    def randomly(self, seed: int) -> Edits:
        """The same changes for random directions, each as long as the one in whose place it is."""
        directions = []
        for layer, own in zip(self.layers, self.directions, strict=True):
            drawn = np.random.default_rng((seed, layer)).normal(size=own.shape)
            sizes = np.linalg.norm(own, axis=-1, keepdims=True)
            directions.append(drawn / np.linalg.norm(drawn, axis=-1, keepdims=True) * sizes)
        return Edits(self.layers, self.changes, tuple(directions))

    def made(
        self, subject: Subject, number: int, rows: Sequence[int] | NDArray[Any]
    ) -> AbstractContextManager[None]:
        """A context in which row i of a batch runs with edit `rows[i]` of one layer."""
        chosen = np.asarray(rows)
        return rank_one(
            subject, self.layers[number], self.changes[number, chosen], self.directions[number][chosen]
        )


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What follows after P facts, with their edits at K layers or, with K = 1, without any.

    Attributes:
        prompt: (K, P) probability of the new answer among the two, after the fact's own prompt.
        wordings: (K, P) the same after its other wordings, on average; NaN without any.
        gap: (K, P) logit of the new answer less that of the old after its other wordings, on average.
        neighbours: (K, P, N) the likeliest token after the prompt with other subjects.
    """

    prompt: NDArray[np.float64]
    wordings: NDArray[np.float64]
    gap: NDArray[np.float64]
    neighbours: tuple[tuple[NDArray[Any], ...], ...]

    def kept(self, before: Outcomes) -> NDArray[np.float64]:
        """(K, P) the share of other subjects after which the likeliest token is what it was; NaN without any."""
        rows = [
            [
                float((now == then).mean()) if len(now) else np.nan
                for now, then in zip(layer, before.neighbours[0], strict=True)
            ]
            for layer in self.neighbours
        ]
        return np.array(rows)


def make_edits(
    subject: Subject,
    facts: FactPrompts,
    layers: Sequence[int],
    texts: Sequence[Prompt],
    *,
    steps: int = STEPS,
) -> Edits:
    """The edit of each fact at each layer: its key, the direction that reads it, and what its value must change by.

    Args:
        subject: the model.
        facts: P facts.
        layers: K blocks with neurons.
        texts: of which the second moment of keys is taken.
        steps: of the gradient at most.

    Raises:
        ValueError: as `key_moments`. NotFinite: logits or neurons are not finite.
    """
    directions = key_directions(subject, facts, layers, texts)
    return Edits(tuple(layers), value_changes(subject, facts, layers, steps=steps), directions)


def key_directions(
    subject: Subject, facts: FactPrompts, layers: Sequence[int], texts: Sequence[Prompt]
) -> tuple[NDArray[np.float64], ...]:
    """By layer (P, F) the directions that read the keys of facts, whatever is written for them; see `make_edits`."""
    moments = key_moments(subject, texts, layers)
    keys = _keys(subject, facts, layers)
    return tuple(
        read_directions(moments[layer], keys[layer].mean(axis=1), keys[layer][:, 0]) for layer in layers
    )


def value_changes(
    subject: Subject, facts: FactPrompts, layers: Sequence[int], *, steps: int = STEPS
) -> NDArray[np.float64]:
    """(K, P, D) what the value of each fact must change by at each layer for its new answer; see `make_edits`."""
    changes = np.zeros((len(layers), len(facts), subject.anatomy.hidden_size))
    for rows, tokens in by_length(facts.prompts, TOKENS):
        before = entering(subject, tokens, layers)
        for number, layer in enumerate(layers):
            changes[number, rows] = fitted_changes(
                subject, tokens, facts.last[rows], facts.new[rows], layer, before, steps=steps
            )
    return changes


def outcomes(subject: Subject, facts: FactPrompts, edits: Edits | None = None) -> Outcomes:
    """What follows with each edit made alone; without any, as if they were one layer that does nothing.

    Raises:
        NotFinite: logits are not finite with an edit, or without.
    """
    kinds = (tuple((ids,) for ids in facts.prompts), facts.wordings, facts.neighbours)
    rows = [
        (kind, fact, ids)
        for kind, of_kind in enumerate(kinds)
        for fact, listed in enumerate(of_kind)
        for ids in listed
    ]
    kind_of, fact_of = (np.array([row[i] for row in rows], dtype=np.intp) for i in (0, 1))
    K, P = 1 if edits is None else len(edits.layers), len(facts)
    gaps, top = np.empty((K, len(rows))), np.empty((K, len(rows)), dtype=np.intp)
    for batch_rows, tokens in by_length([row[2] for row in rows], TOKENS):
        fact = fact_of[batch_rows]
        for number, logits in enumerate(_logits(subject, tokens, edits, fact)):
            at = np.arange(len(fact))
            gaps[number, batch_rows] = logits[at, facts.new[fact]] - logits[at, facts.old[fact]]
            top[number, batch_rows] = logits.argmax(axis=-1)
    preferred = 1 / (1 + np.exp(-np.clip(gaps, -500, 500)))

    def mean(values: NDArray[np.float64], kind: int) -> NDArray[np.float64]:
        by_fact = np.full((K, P), np.nan)
        for one in np.unique(fact_of[kind_of == kind]):
            by_fact[:, one] = values[:, (kind_of == kind) & (fact_of == one)].mean(axis=1)
        return by_fact

    neighbours = tuple(
        tuple(top[number, (kind_of == 2) & (fact_of == one)] for one in range(P)) for number in range(K)
    )
    return Outcomes(mean(preferred, 0), mean(preferred, 1), mean(gaps, 1), neighbours)


def _logits(
    subject: Subject, tokens: mx.array, edits: Edits | None, fact: NDArray[np.intp]
) -> list[NDArray[np.float64]]:
    """(B, V) logits of a batch at the last position, by layer at which the edit of each row's fact is made."""
    if edits is None:
        plain = require_finite(subject, tokens, resumed_logits(subject, tokens, 0, {}))
        return [np.array(plain, dtype=np.float64)]
    before = entering(subject, tokens, edits.layers)
    rows = []
    for number, layer in enumerate(edits.layers):
        with edits.made(subject, number, fact):
            edited = require_finite(subject, tokens, resumed_logits(subject, tokens, layer, before))
        rows.append(np.array(edited, dtype=np.float64))
    return rows


def _keys(subject: Subject, facts: FactPrompts, layers: Sequence[int]) -> Mapping[int, NDArray[np.float64]]:
    """By layer (P, C, F) what the neurons say at the last token of each subject, in each context."""
    flat = [context for rows in facts.contexts for context in rows]
    sites = {layer: Site("neurons", layer) for layer in layers}
    read = collect(subject, [ids for ids, _ in flat], list(sites.values()), at=[last for _, last in flat])
    return {
        layer: np.asarray(read[site], dtype=np.float64).reshape(len(facts), -1, read[site].shape[-1])
        for layer, site in sites.items()
    }
