"""What a probe is given: prompts with labels, and the activations and other features that they are to be read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.store import ActivationStore
from lazarus_probe.introspection.held_out import Problem
from lazarus_probe.statistics import Kind, bag_of_tokens
from lazarus_probe.statistics.folds import check_split
from lazarus_probe.statistics.rows import LABEL, NAME, present
from lazarus_probe.subject.batches import Prompt, encode_all

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

# Bytes up to which the residuals of all layers are collected in one pass, for the layers asked for later.
TOGETHER = 2**26


@dataclass(frozen=True)
class Labelled:
    """Prompts with what is to be read from them.

    Attributes:
        prompts: (N,) texts, or token ids.
        labels: (N,) classes, or numbers for a regression.
        groups: (N,) what a split keeps together: template, operand family, token.
        clusters: (N,) the independent units that intervals rest on; the groups, unless said otherwise.
        at: which position is read, as in `collect`.
        types: (N,) what a probe could memorise instead of reading, for the control task; unless given, the tokens at
            that place, counted back from the one read, which tell most of the label in other groups, where that
            could explain half of what is read.
    """

    prompts: Sequence[Prompt]
    labels: Any
    groups: Any
    clusters: Any = None
    at: Any = "last"
    types: Any = None

    def __post_init__(self) -> None:
        """Refuse rows of which something is missing."""
        for name in ("labels", "groups", "clusters", "types"):
            if getattr(self, name) is not None:
                right = LABEL if name == "labels" else NAME
                object.__setattr__(self, name, present(getattr(self, name), name, right))

    @property
    def units(self) -> NDArray[Any]:
        """The clusters, or the groups where none are given."""
        return self.groups if self.clusters is None else self.clusters

    def take(self, rows: NDArray[Any]) -> Labelled:
        """Some of the prompts, by row number."""
        kept = {
            name: None if getattr(self, name) is None else getattr(self, name)[rows]
            for name in ("labels", "groups", "clusters", "types")
        }
        at = self.at if isinstance(self.at, str | int | np.integer) else [self.at[row] for row in rows]
        return replace(self, prompts=[self.prompts[row] for row in rows], at=at, **kept)


@dataclass(frozen=True)
class Readings:
    """What a probe is given.

    Attributes:
        labelled: the prompts and labels, N of them.
        tokens: (N, any) token ids of each prompt.
        texts: (N,) each prompt as text.
        features: (N, D) of the site.
        known: by control, the features (N, any) that it is given instead.
    """

    labelled: Labelled
    tokens: Sequence[Sequence[int]]
    texts: Sequence[str]
    features: NDArray[Any]
    known: Mapping[str, NDArray[Any]]

    def take(self, rows: NDArray[Any]) -> Readings:
        """Some of the prompts, by row number."""
        return Readings(
            self.labelled.take(rows),
            [self.tokens[row] for row in rows],
            [self.texts[row] for row in rows],
            self.features[rows],
            {name: values[rows] for name, values in self.known.items()},
        )

    def problem(self, features: NDArray[Any], kind: Kind, seed: int) -> Problem:
        """The labels to be read from these features instead."""
        return Problem.of(features, self.labelled.labels, self.labelled.groups, kind, seed)


def read(
    subject: Subject,
    twin: Subject,
    labelled: Labelled,
    sites: Sequence[Site],
    kind: Kind,
    store: ActivationStore,
) -> dict[Site, Readings]:
    """What the probes at several sites are given, from one pass over each model.

    Raises:
        ValueError: as `decode`.
    """
    if not len(labelled.prompts):
        raise ValueError("no prompts to probe; give at least two groups of them")
    check_split(labelled.labels, labelled.groups, kind)
    if kind == "regression":
        labelled = replace(labelled, labels=labelled.labels.astype(float))
    tokens = encode_all(subject, labelled.prompts)
    texts = [_text(subject, prompt) for prompt in labelled.prompts]
    embed = Site("embed")
    above = any(site != embed for site in sites)
    inside = _collected(store, subject, labelled, list(dict.fromkeys([*sites, embed])) if above else sites)
    untrained = _collected(store, twin, labelled, sites)
    bag = bag_of_tokens(tokens)
    found = {}
    for site in sites:
        known = {"bag_of_tokens": bag, "untrained": untrained[site]}
        known |= {} if site == embed else {"token_embeddings": inside[embed]}
        found[site] = Readings(labelled, tokens, texts, inside[site], known)
    return found


def _text(subject: Subject, prompt: Prompt) -> str:
    if isinstance(prompt, str):
        return prompt
    return " ".join(map(str, prompt)) if subject.tokenizer is None else subject.decode(prompt)


def _collected(
    store: ActivationStore, subject: Subject, labelled: Labelled, sites: Sequence[Site]
) -> dict[Site, NDArray[Any]]:
    """Each site's values (N, D). Where one layer is asked for, the others come along: a claim asks for them next."""
    wanted, layers = list(sites), range(subject.num_layers)
    size = len(labelled.prompts) * subject.anatomy.hidden_size * 4 * len(layers)
    if size <= TOGETHER and any(site.kind == "resid_post" for site in sites):
        wanted = list(dict.fromkeys([*sites, Site("embed"), *map(resid_post, layers)]))
    values = store.get(subject, labelled.prompts, wanted, at=labelled.at)
    return {site: values[site].reshape(len(labelled.prompts), -1) for site in sites}
