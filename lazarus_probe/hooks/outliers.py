"""Positions of a prompt that any average over positions is made of: massive activations and attention sinks.

A few activations of a trained model are thousands of times the others, mostly at the first token or a delimiter, at
the same dimensions for any prompt (Sun et al. 2024, arXiv:2402.17762, whose definition this is: a magnitude above 100,
and 1,000 times the median of the hidden state). The same positions take most of the attention, whatever they say: they
are sinks (Xiao et al. 2023, arXiv:2309.17453). What a head gives a position is the mean over later queries (Gu et al.
2024, arXiv:2410.10781); it sinks into the position with more than .3 of what it could give beyond an even share, as
short prompts leave few positions to attend to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import Edit, Intervention
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import pattern, resid_post
from lazarus_probe.hooks.trace import trace

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

MAGNITUDE = 100.0
TIMES_MEDIAN = 1000.0
SINK = 0.3
# Share of the heads that must sink into a position for it to be one of the model's sinks.
MOST = 0.5


@dataclass(frozen=True)
class MassiveActivation:
    """One activation of a prompt that is out of proportion.

    Attributes:
        layer: after which block.
        position: from the start.
        dimension: of the residual stream.
        value: the activation.
        median: the median magnitude over positions and dimensions after that block.
    """

    layer: int
    position: int
    dimension: int
    value: float
    median: float

    @property
    def ratio(self) -> float:
        """Its magnitude over the median."""
        return abs(self.value) / self.median if self.median else float("inf")


@dataclass(frozen=True, eq=False)
class Outliers:
    """The outlier positions of one prompt of L tokens.

    Attributes:
        tokens: (L,) texts.
        massive: every massive activation, block by block.
        sink_shares: (L,) of all heads, the share that sinks into each position; NaN for the last position, that no
            later one can attend to, and where the model has no attention.
    """

    tokens: tuple[str, ...]
    massive: tuple[MassiveActivation, ...]
    sink_shares: NDArray[np.float64]

    @property
    def sinks(self) -> tuple[int, ...]:
        """Positions that most heads sink into."""
        return tuple(np.flatnonzero(self.sink_shares > MOST).tolist())

    @property
    def positions(self) -> tuple[int, ...]:
        """Positions that averages leave out; none if that left nothing."""
        outlying = {activation.position for activation in self.massive} | set(self.sinks)
        return () if len(outlying) == len(self.tokens) else tuple(sorted(outlying))

    def largest(self, position: int) -> MassiveActivation | None:
        """The massive activation of a position that exceeds the median most; None without any."""
        there = [activation for activation in self.massive if activation.position == position]
        return max(there, key=lambda activation: activation.ratio, default=None)

    def described(self, position: int) -> str:
        """What sets a position apart, in words."""
        reasons = []
        if position in self.sinks:
            reasons.append(f"an attention sink of {self.sink_shares[position]:.0%} of the heads")
        if (largest := self.largest(position)) is not None:
            reasons.append(
                f"with a massive activation: {largest.value:,.0f} at dimension {largest.dimension} after block "
                f"{largest.layer}, {largest.ratio:,.0f} x the median"
            )
        return ", ".join(reasons)

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "positions": list(self.positions),
            "sinks": [
                {"position": position, "share_of_heads": float(self.sink_shares[position])}
                for position in self.sinks
            ],
            "massive": [asdict(activation) | {"ratio": activation.ratio} for activation in self.massive],
        }


def outliers(subject: Subject, prompt: str | Sequence[int]) -> Outliers:
    """The massive activations and attention sinks of a prompt, from one run that looks at every block.

    Args:
        subject: the model.
        prompt: a text or token ids.

    Raises:
        ValueError: an empty prompt.
    """
    ids = subject.encode(prompt) if isinstance(prompt, str) else list(prompt)
    massive: list[MassiveActivation] = []
    heads: list[NDArray[np.bool_]] = []
    edits = []
    for layer in range(subject.num_layers):
        edits.append(Intervention(resid_post(layer), _watching(massive, layer), "all", "look"))
        if "pattern" in kinds_at(subject.anatomy, layer):
            edits.append(Intervention(pattern(layer), _attending(heads), "all", "look"))
    trace(subject, ids, interventions=edits)
    shares = np.full(len(ids), np.nan)
    if heads and len(ids) > 1:
        shares[:-1] = np.concatenate(heads).mean(axis=0)
    tokens = tuple(subject.decode([token]) for token in ids)
    return Outliers(tokens, tuple(sorted(massive, key=lambda a: (a.layer, a.position))), shares)


def massive_activations(states: NDArray[Any], layer: int) -> list[MassiveActivation]:
    """Those in the hidden state (L, D) after a block."""
    sizes = np.abs(states)
    median = float(np.median(sizes))
    above = np.argwhere((sizes > MAGNITUDE) & (sizes >= TIMES_MEDIAN * median))
    return [
        MassiveActivation(layer, int(position), int(dimension), float(states[position, dimension]), median)
        for position, dimension in above
    ]


def sinks_of(patterns: NDArray[Any]) -> NDArray[np.bool_]:
    """(H, L - 1) whether heads sink into each position but the last, from their patterns (H, L, L).

    A head that attends evenly gives a position a mean over later queries of 1 / (q + 1); one that attends to nothing
    else gives it 1. It sinks into the position beyond `SINK` of the way from the first to the second.
    """
    length = patterns.shape[-1]
    later = np.tril(np.ones((length, length)), -1)  # (q, k): q sees k, and is another position
    queries = later.sum(axis=0)[:-1]
    received = (patterns * later).sum(axis=1)[:, :-1] / queries
    even = (later / np.arange(1, length + 1)[:, None]).sum(axis=0)[:-1] / queries
    return np.asarray((received - even) / (1 - even) > SINK)


def _watching(massive: list[MassiveActivation], layer: int) -> Edit:
    def look(value: mx.array) -> mx.array:
        states = np.array(value.astype(mx.float32))
        massive.extend(massive_activations(states.reshape(states.shape[1], -1), layer))
        return value

    return look


def _attending(heads: list[NDArray[np.bool_]]) -> Edit:
    def look(value: mx.array) -> mx.array:
        patterns = np.array(value.astype(mx.float32))[0].astype(np.float64)
        if patterns.shape[-2] == patterns.shape[-1] > 1:
            heads.append(sinks_of(patterns))
        return value

    return look
