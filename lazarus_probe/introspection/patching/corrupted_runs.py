"""Runs of a prompt with a part corrupted, and with clean values put back at some tokens of some layers."""

# ruff: noqa: N806 - D, L and K are the names that the field gives to these sizes

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, get_args

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.spelling import one_of
from lazarus_probe.subject.batches import TOKENS_PER_BATCH
from lazarus_probe.subject.dealt import dealt
from lazarus_probe.subject.finite import require_finite
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.subject.spans import Span
from lazarus_probe.sweep.metrics import Reader

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Corruption = Literal["noise", "resample"]


@dataclass(frozen=True, eq=False)
class Corrupted:
    """K corrupted runs of one prompt.

    Attributes:
        tokens: (K, L) what is run.
        noise: (K, L, D) added to the embeddings; None where the tokens themselves differ.
    """

    tokens: NDArray[Any]
    noise: NDArray[np.float32] | None


@dataclass(frozen=True)
class Cell:
    """Where clean values are put back: layers, and positions of the prompt."""

    layers: tuple[int, ...]
    positions: tuple[int, ...]


def noise_size(
    subject: Subject, encoded: Sequence[Sequence[int]], parts: Sequence[Span], times: float
) -> float:
    """The standard deviation of noise: that of the embeddings of all parts' tokens, `times` as large.

    Raises:
        ValueError: `times` is not above 0.
    """
    if not 0 < times < float("inf"):
        raise ValueError(f"noise is {times}; give how many standard deviations of the embeddings, above 0")
    tokens = [ids[position] for ids, part in zip(encoded, parts, strict=True) for position in part.positions]
    embedded = trace(subject, [tokens], "embed")["embed"]
    return times * float(np.array(embedded.astype(mx.float32)).std())


def replaceable(encoded: Sequence[Sequence[int]], parts: Sequence[Span], others: int) -> list[int]:
    """The prompts whose part can be replaced by the parts of so many others, of equal length."""
    own = [tuple(ids[part.start : part.stop]) for ids, part in zip(encoded, parts, strict=True)]
    lengths = Counter(map(len, set(own)))
    return [row for row, tokens in enumerate(own) if lengths[len(tokens)] > others]


def corruptions(
    subject: Subject,
    encoded: Sequence[Sequence[int]],
    parts: Sequence[Span],
    corruption: Corruption,
    noise: float,
    draws: int,
    seed: int,
) -> list[Corrupted]:
    """The corrupted runs of each prompt.

    Raises:
        ValueError: an unknown corruption, no draws, or a prompt of which no other has a part of equal length.
    """
    if corruption not in get_args(Corruption):
        raise ValueError(f"corruption {corruption!r} is unknown; {one_of(corruption, get_args(Corruption))}")
    if draws < 1:
        raise ValueError(f"draws is {draws}; give at least 1 corrupted run")
    replaced = {tuple(ids[part.start : part.stop]) for ids, part in zip(encoded, parts, strict=True)}
    runs = []
    for row, (ids, part) in enumerate(zip(encoded, parts, strict=True)):
        rng = np.random.default_rng((seed, *ids))
        own = tuple(ids[part.start : part.stop])
        if corruption == "noise":
            added = np.zeros((draws, len(ids), subject.anatomy.hidden_size), np.float32)
            added[:, part.start : part.stop] = noise * rng.normal(size=(draws, len(part), added.shape[-1]))
            runs.append(Corrupted(np.tile(np.array(ids), (draws, 1)), added))
            continue
        others = sorted(other for other in replaced if len(other) == len(own) and other != own)
        if not others:
            raise ValueError(
                f"prompt {row}: no other prompt has a part of {len(own)} tokens to put in its place; give one, or "
                "corrupt by noise"
            )
        tokens = np.tile(np.array(ids), (min(draws, len(others)), 1))
        tokens[:, part.start : part.stop] = [others[i] for i in rng.permutation(len(others))[:draws]]
        runs.append(Corrupted(tokens, None))
    return runs


class Restorer:
    """Runs one prompt clean, corrupted, and corrupted with values of another run put in."""

    def __init__(
        self, subject: Subject, ids: Sequence[int], corrupted: Corrupted, kind: str, read: Reader, prompt: int
    ) -> None:
        self.subject, self.corrupted, self.read, self.prompt = subject, corrupted, read, prompt
        layers = [layer for layer in range(subject.num_layers) if kind in kinds_at(subject.anatomy, layer)]
        self.sites = {layer: Site(kind, layer) for layer in layers}
        self.clean, self.clean_logits = self._ran(mx.array(np.asarray(ids)[None]), [])
        self.dirty, self.dirty_logits = self._ran(mx.array(corrupted.tokens), self._noise(1))

    def values(self, cells: Sequence[Cell]) -> dict[str, NDArray[Any]]:
        """By run the metrics (M,), or (M, cells), as means over corrupted runs; the control is NaN with one of them."""
        K = len(self.corrupted.tokens)
        control = np.full((len(self.read.metrics), len(cells)), np.nan)
        if K > 1:
            others = {layer: mx.concatenate([value[1:], value[:1]]) for layer, value in self.dirty.items()}
            control = self._restored(cells, others)
        clean = {layer: mx.broadcast_to(value, (K, *value.shape[1:])) for layer, value in self.clean.items()}
        return {
            "clean": self._numbers(self.clean_logits)[:, 0],
            "corrupted": self._numbers(self.dirty_logits).mean(axis=-1),
            "restored": self._restored(cells, clean),
            "control": control,
        }

    def clean_states(self, position: int) -> dict[int, mx.array]:
        """By layer the clean value at one position."""
        return {layer: mx.contiguous(value[0, position]) for layer, value in self.clean.items()}

    def _ran(self, tokens: mx.array, edits: Sequence[Intervention]) -> tuple[dict[int, mx.array], mx.array]:
        """By layer the values (B, L, ...) of its site, and the logits (B, V) at the last position."""
        with hooked(self.subject, self.sites.values(), edits) as captured:
            logits = require_finite(self.subject, tokens, last_logits(self.subject, tokens))
        values = {layer: captured[site] for layer, site in self.sites.items()}
        mx.eval(logits, values)
        return values, logits

    def _restored(self, cells: Sequence[Cell], sources: dict[int, mx.array]) -> NDArray[Any]:
        """(M, cells) metrics with values (K, L, ...) of other runs put in, as means over the K corrupted runs."""
        K, L = self.corrupted.tokens.shape
        size = max(1, TOKENS_PER_BATCH // (K * L))

        def run(some: Sequence[Cell]) -> NDArray[Any]:
            edits = [*self._noise(len(some))]
            for layer in sorted({layer for cell in some for layer in cell.layers}):
                mask = np.zeros((len(some), 1, L), dtype=bool)
                for row, cell in enumerate(some):
                    mask[row, 0, list(cell.positions)] = layer in cell.layers
                where = mx.array(np.broadcast_to(mask, (len(some), K, L)).reshape(-1, L))
                source = mx.concatenate([sources[layer]] * len(some))
                edits.append(Intervention(self.sites[layer], partial(_put, where, source), label="restore"))
            tokens = mx.array(np.tile(self.corrupted.tokens, (len(some), 1)))
            with hooked(self.subject, (), edits):
                logits = require_finite(self.subject, tokens, last_logits(self.subject, tokens))
            return np.asarray(self._numbers(logits).reshape(-1, len(some), K).mean(axis=-1))

        parts = [cells[begin : begin + size] for begin in range(0, len(cells), size)]
        return np.concatenate(dealt(self.subject, parts, run), axis=1)

    def _noise(self, times: int) -> list[Intervention]:
        if self.corrupted.noise is None:
            return []
        noise = mx.array(np.tile(self.corrupted.noise, (times, 1, 1)))
        return [Intervention("embed", lambda value: value + noise.astype(value.dtype), label="noise")]

    def _numbers(self, logits: mx.array) -> NDArray[Any]:
        """(M, rows) metrics of logits (rows, V)."""
        numbers = self.read.read(logits, logits, np.full(len(logits), self.prompt))
        return np.stack([np.array(numbers[metric.name], dtype=np.float64) for metric in self.read.metrics])


def _put(where: mx.array, source: mx.array, value: mx.array) -> mx.array:
    """A value (B, L, ...) with that of another run at the places (B, L)."""
    mask = where.reshape(*where.shape, *[1] * (value.ndim - 2))
    return mx.where(mask, source.astype(value.dtype), value)
