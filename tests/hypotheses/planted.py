"""A subject whose activations are made up: they hold the labels of a dataset, or nothing, and no model runs.

Tokens are whole words, as common ones are for the models of today, so that the bag of tokens is what a real one is.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.inputs import ProbeDataset
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import ControlModel

WIDTH = 64
NOISE = 0.01
EMBED = Site("embed")


class Reader(Subject):
    """The organism with another tokenizer, of words, digits and signs."""

    words: dict[str, int]
    number: str

    def encode(self, text: str) -> list[int]:
        """One token a word, with the space before it, a number or a digit, and a sign."""
        return self.offsets(text)[0]

    def offsets(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """The tokens, and the characters that each covers."""
        pieces = list(re.finditer(rf" ?[^\W\d_]+|{self.number}| ?[^\w\s]|\s", text))
        ids = [self.words.setdefault(piece[0], len(self.words)) for piece in pieces]
        return ids, [piece.span() for piece in pieces]


def reader(organism: Subject, number: str = r"\d") -> Reader:
    """The organism as a `Reader`; the pattern of a number's tokens is a digit or a whole number."""
    read = copy.copy(organism)
    object.__setattr__(read, "__class__", Reader)
    object.__setattr__(read, "words", {})
    object.__setattr__(read, "number", number)
    return read  # type: ignore[return-value]


class Planted:
    """Stands for an `ActivationStore`: what a site holds is planted, and what a control model holds is chance.

    Token embeddings are random vectors, one a token; a control model's states are means of other random vectors of the
    tokens, so that it has what words there are and nothing else.

    Args:
        states: (N, K) what the subject holds at a prompt, by the site.
        seed: of the random vectors.
    """

    def __init__(self, states: Mapping[Site, NDArray[np.float64]], seed: int = 0) -> None:
        self.states, self.seed = states, seed

    def get_of_models(
        self, requests: Sequence[tuple[Any, Sequence[Site]]], prompts: Sequence[Any], at: Any = "last"
    ) -> list[dict[Site, NDArray[np.float32]]]:
        """`get` of several models."""
        return [self.get(model, prompts, sites, at) for model, sites in requests]

    def get(
        self, model: Any, prompts: Sequence[Any], sites: Sequence[Site], at: Any = "last"
    ) -> dict[Site, NDArray[np.float32]]:
        """(N, D) by site."""
        subject = model.origin if isinstance(model, ControlModel) else model
        tokens = [subject.encode(prompt) if isinstance(prompt, str) else prompt for prompt in prompts]
        control = f"{model.kind} {model.seed}" if isinstance(model, ControlModel) else ""
        values = {}
        for site in sites:
            if control or site not in self.states or len(tokens) != len(self.states[site]):
                values[site] = self._of_tokens(tokens, "" if site == EMBED else f"{control} {site}", at)
            else:
                noise = np.random.default_rng(self.seed).normal(0, NOISE, self.states[site].shape)
                values[site] = (self.states[site] + noise).astype(np.float32)
        return values

    def _of_tokens(self, tokens: Sequence[Sequence[int]], table: str, at: Any) -> NDArray[np.float32]:
        vectors = _vectors(self.seed, table, max(map(max, tokens)) + 1)
        if isinstance(at, str) and at == "last" and not table:
            return np.stack([vectors[ids[-1]] for ids in tokens]).astype(np.float32)
        if not isinstance(at, str):
            return np.stack([vectors[ids[place]] for ids, place in zip(tokens, at, strict=True)]).astype(
                np.float32
            )
        lengths = np.array([len(ids) for ids in tokens])
        means = np.empty((len(tokens), WIDTH), dtype=np.float32)
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            means[rows] = vectors[np.array([tokens[row] for row in rows])].mean(axis=1)
        return means


def _vectors(seed: int, table: str, count: int) -> NDArray[np.float64]:
    """(count or more, WIDTH) random vectors, one a token: the first are the same whatever the count."""
    return _first_vectors(seed, table, max(256, 1 << (count - 1).bit_length()))


@lru_cache(maxsize=256)
def _first_vectors(seed: int, table: str, count: int) -> NDArray[np.float64]:
    return np.random.default_rng([seed, *table.encode()]).normal(size=(count, WIDTH))


def held(labelled: ProbeDataset) -> NDArray[np.float64]:
    """(N, K) the labels themselves: one-hot classes, or one column of numbers."""
    labels = np.asarray(labelled.labels)
    if labels.dtype.kind == "f":
        return ((labels - labels.mean()) / labels.std())[:, None]
    return np.eye(len(set(labels.tolist())))[np.unique(labels, return_inverse=True)[1]]


def nothing(labelled: ProbeDataset) -> NDArray[np.float64]:
    """(N, K) as many columns of noise."""
    return np.random.default_rng(1).normal(size=(len(labelled.prompts), WIDTH))
