"""Runs behind the study of sinks: what the first token gets, how large activations are, and edits of the largest."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.model_sites import head_count, kinds_at
from lazarus_probe.hooks.outliers import SINK, massive_activations
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.generation.damage import Unrelated, damages, unrelated_prompts
from lazarus_probe.statistics.measurement import Damage
from lazarus_probe.statistics.student import Estimate, mean_t_interval
from lazarus_probe.subject.finite import refuse

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

ROWS_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class FirstTokenAttention:
    """What heads give a token of R rows.

    Attributes:
        attention: (R, layers, H) mean attention of later tokens; NaN where a layer has none.
    """

    attention: NDArray[np.float64]

    @property
    def shares(self) -> NDArray[np.float64]:
        """(R,) of all heads, the share with more than .3."""
        defined = ~np.isnan(self.attention)
        return np.asarray((self.attention > SINK).sum(axis=(1, 2)) / defined.sum(axis=(1, 2)))

    @property
    def share(self) -> Estimate:
        """The mean share, with its interval over rows."""
        return mean_t_interval(self.shares)

    @property
    def by_layer(self) -> NDArray[np.float64]:
        """(layers,) mean share of each layer's heads; NaN where it has none."""
        defined = (~np.isnan(self.attention)).sum(axis=2)
        counts = (self.attention > SINK).sum(axis=2)
        return np.where(defined[0] > 0, counts.mean(axis=0) / np.maximum(defined[0], 1), np.nan)


@dataclass(frozen=True, eq=False)
class MassiveDimensions:
    """Massive activations that most rows have after one block, at one token.

    Attributes:
        layer: the first block after which they are there.
        position: of the token, from the start.
        dimensions: of the residual stream, the largest first.
        values: (dimensions,) their means over rows.
        median: the median magnitude over rows, tokens and dimensions after that block.
    """

    layer: int
    position: int
    dimensions: tuple[int, ...]
    values: tuple[float, ...]
    median: float


@dataclass(frozen=True, eq=False)
class MassiveEdit:
    """An edit of the activations at that token, and what comes of it.

    Attributes:
        share: of heads that sink into the first token, with its interval over rows.
        damage: on unrelated prompts; None without a tokenizer.
    """

    share: Estimate
    damage: Damage | None


def first_token_attention(
    subject: Subject, tokens: NDArray[np.int32], position: int = 0, edits: Sequence[Intervention] = ()
) -> FirstTokenAttention:
    """The mean attention (R, layers, H) of later tokens to one position.

    Raises:
        UnsupportedArchitecture: no block has an attention pattern.
    """
    anatomy = subject.anatomy
    layers = [layer for layer in range(anatomy.num_layers) if "pattern" in kinds_at(anatomy, layer)]
    if not layers:
        raise UnsupportedArchitecture(
            f"{subject.name} has no attention patterns, so no heads that could sink"
        )
    heads = max(part.heads.num_heads for part in anatomy.parts if part.heads is not None)
    attention = np.full((len(tokens), anatomy.num_layers, heads), np.nan)
    for begin in range(0, len(tokens), ROWS_AT_ONCE):
        part = slice(begin, begin + ROWS_AT_ONCE)
        watching = [
            Intervention(
                Site("pattern", layer), partial(_received, attention[part, layer], position), label="look"
            )
            for layer in layers
        ]
        rows = mx.array(tokens[part])
        with hooked(subject, interventions=[*edits, *watching]):
            forward(subject.model, rows)  # looked at layer by layer: no logits are computed
            for layer in layers:
                if np.isnan(attention[part, layer, : head_count(anatomy, Site("pattern", layer))]).any():
                    refuse(subject, rows, f"attention of layer {layer}")
    return FirstTokenAttention(attention)


def _received(attention: NDArray[np.float64], position: int, value: mx.array) -> mx.array:
    received = value[:, :, position + 1 :, position].astype(mx.float32).mean(axis=-1)
    attention[:, : value.shape[1]] = np.array(received)
    return value


@dataclass(frozen=True, eq=False)
class Magnitudes:
    """(layers, R) the largest and the median magnitude, and dimension, position, block and share of the largest."""

    largest: NDArray[np.float64]
    medians: NDArray[np.float64]
    place: tuple[int, int, int, float]

    @property
    def ratio(self) -> float:
        """The largest mean magnitude over the median after the same block."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.nanmax(self.largest.mean(axis=1) / self.medians.mean(axis=1)))


def magnitudes(subject: Subject, tokens: NDArray[np.int32]) -> Magnitudes:
    """The largest and the median magnitude of rows (R, L) after every block, and where the largest of all is."""
    largest, medians = (np.empty((subject.num_layers, len(tokens))) for _ in range(2))
    places = np.empty((subject.num_layers, len(tokens), 2), dtype=np.intp)
    for row, stream in enumerate(residual_streams(subject, tokens)):
        for layer, states in enumerate(stream):
            sizes = np.abs(states)
            largest[layer, row], medians[layer, row] = sizes.max(), np.median(sizes)
            places[layer, row] = np.unravel_index(sizes.argmax(), sizes.shape)
    peak, first = np.unravel_index(largest.argmax(), largest.shape)
    position, dimension = places[peak, first]
    share = float((places[peak] == places[peak, first]).all(axis=1).mean())
    return Magnitudes(largest, medians, (int(dimension), int(position), int(peak), share))


def residual_streams(subject: Subject, tokens: NDArray[np.int32]) -> Iterator[NDArray[np.float32]]:
    """Of each row (R, L) in turn the stream (layers, L, D) after every block; no logits are computed."""
    sites = [Site("resid_post", layer) for layer in range(subject.num_layers)]
    for begin in range(0, len(tokens), ROWS_AT_ONCE):
        rows = mx.array(tokens[begin : begin + ROWS_AT_ONCE])
        with hooked(subject, sites) as captures:
            forward(subject.model, rows)
        streams = mx.stack([captures[site].astype(mx.float32) for site in sites], axis=1)
        if not mx.isfinite(streams).all().item():
            refuse(subject, rows, "residual streams")
        yield from np.array(streams)


def common_massive(subject: Subject, tokens: NDArray[np.int32]) -> MassiveDimensions | None:
    """Massive activations that more than half of the rows have at one token, after the first block that has any."""
    by_row = list(residual_streams(subject, tokens))
    for layer in range(subject.num_layers):
        counts: dict[tuple[int, int], int] = {}
        for row in by_row:
            for activation in massive_activations(row[layer], layer):
                at = (activation.position, activation.dimension)
                counts[at] = counts.get(at, 0) + 1
        common = [at for at, count in counts.items() if count > len(tokens) / 2]
        if not common:
            continue
        states = np.stack([row[layer] for row in by_row])
        means = {at: float(states[:, at[0], at[1]].mean()) for at in common}
        position = max(common, key=lambda at: abs(means[at]))[0]
        there = sorted((at for at in common if at[0] == position), key=lambda at: -abs(means[at]))
        return MassiveDimensions(
            layer,
            position,
            tuple(dimension for _, dimension in there),
            tuple(means[at] for at in there),
            float(np.median(np.abs(states))),
        )
    return None


def massive_interventions(subject: Subject, massive: MassiveDimensions, seed: int) -> dict[str, Intervention]:
    """By name the edits of massive activations, and of as many other dimensions, after the block that makes them."""
    rng, width = np.random.default_rng(seed), subject.anatomy.hidden_size
    own = list(massive.dimensions)
    rest = np.setdiff1d(np.arange(width), own)
    others = rng.choice(rest, size=len(own), replace=False).tolist()
    push = np.zeros(width, np.float32)
    push[rest] = rng.normal(size=len(rest))
    push *= np.linalg.norm(massive.values) / np.linalg.norm(push)
    changes: dict[str, Callable[[mx.array], mx.array]] = {
        "set to zero": partial(_set, own, [0.0] * len(own)),
        "set to their mean": partial(_set, own, massive.values),
        "as many others set to zero": partial(_set, others, [0.0] * len(own)),
        "others pushed as far": lambda value: value + mx.array(push, value.dtype),
    }
    site = Site("resid_post", massive.layer)
    return {name: Intervention(site, change, massive.position, name) for name, change in changes.items()}


def massive_damage(
    subject: Subject, massive: MassiveDimensions, seed: int, unrelated: Unrelated | None = None
) -> Damage | None:
    """What setting massive activations to zero does to unrelated prompts; None without a tokenizer."""
    edit = massive_interventions(subject, massive, seed)["set to zero"]
    return _damages(subject, [edit], massive.position, unrelated, seed)[0]


def massive_edits(
    subject: Subject,
    tokens: NDArray[np.int32],
    massive: MassiveDimensions,
    unrelated: Unrelated | None,
    seed: int,
) -> dict[str, MassiveEdit]:
    """By edit, the share of heads that still sink, and the damage to unrelated prompts that have the token."""
    edits = massive_interventions(subject, massive, seed)
    damage = _damages(subject, list(edits.values()), massive.position, unrelated, seed)
    return {
        name: MassiveEdit(first_token_attention(subject, tokens, edits=[edit]).share, harm)
        for (name, edit), harm in zip(edits.items(), damage, strict=True)
    }


def _damages(
    subject: Subject,
    edits: Sequence[Intervention],
    position: int,
    unrelated: Unrelated | None,
    seed: int,
) -> list[Damage] | list[None]:
    if unrelated is None and subject.tokenizer is None:
        return [None] * len(edits)
    prompts = (unrelated or unrelated_prompts()).with_position(subject, position)
    return damages(subject, [partial(_acting, subject, edit) for edit in edits], prompts, seed=seed)


def _acting(
    subject: Subject, edit: Intervention, _rows: Sequence[int], _length: int
) -> AbstractContextManager[Any]:
    return hooked(subject, interventions=edit)


def _set(dimensions: Sequence[int], values: Sequence[float], value: mx.array) -> mx.array:
    new = mx.array(value)
    new[..., mx.array(list(dimensions))] = mx.array(list(values), value.dtype)
    return new
