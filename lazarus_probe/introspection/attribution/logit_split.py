"""Splits the logits at the last position into what every component adds, with the final norm's scale frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.additivity import PARTS, additivity
from lazarus_probe.hooks.check import TOLERANCE
from lazarus_probe.hooks.replay import require_free_tail
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.attribution.frozen_norm import (
    FrozenNorm,
    final_norm,
    frozen_norm,
    read_out,
    relative_error,
)
from lazarus_probe.introspection.attribution.head_terms import projected_heads

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LENGTH = 12
PART_OF = {kind: part for part, kind in PARTS.items()}
Floats = NDArray[np.float64]
Terms = dict[str, Floats]


@dataclass(frozen=True, eq=False)
class LogitRow:
    """One prompt: by part what it adds to the logit, that logit, and the token whose it is."""

    terms: Mapping[str, float]
    total: float
    answer: int


@dataclass(frozen=True, eq=False)
class SplitBatch:
    """B prompts at their last position.

    Attributes:
        terms: by part (B, D), what it adds to the stream that leaves the last block.
        end: (B, D) that stream.
        final: the final norm, with its scales frozen at those for `end`.
        slopes: (B, D) gradient of the requested logits by what the final norm returns.
        constant: (B,) what norm and unembedding add without any stream.
        total: (B,) the requested logits, or differences.
        answers: (B,) token ids.
    """

    terms: Mapping[str, Floats]
    end: Floats
    final: FrozenNorm
    slopes: Floats
    constant: Floats
    total: Floats
    answers: tuple[int, ...]

    def contribution(self, term: Floats) -> Floats:
        """(B,) what a term (B, D) of the stream adds to the logits, with the norm's scale frozen."""
        return np.asarray((self.final.of(term) * self.slopes).sum(axis=-1))


class LogitSplit:
    """Splits the logits of batches, for a model whose blocks add to the residual stream."""

    def __init__(self, subject: Subject, heads: bool) -> None:
        anatomy = subject.anatomy
        if anatomy.stream_axis is not None:
            raise UnsupportedArchitecture(
                f"{subject.name} carries several residual streams; one is needed to split its logits"
            )
        require_free_tail(subject)
        self.subject, self.heads = subject, heads
        self.tolerance = max(1e-3, TOLERANCE.get(subject.dtype, 1e-3))
        tokens = mx.array(np.random.default_rng(0).integers(0, anatomy.vocab_size, size=(2, LENGTH)))
        self.sums = additivity(subject, tokens, self.tolerance)
        for layer, sum_ in enumerate(self.sums):
            if not sum_.holds:
                raise UnsupportedArchitecture(
                    f"block {layer} of {subject.name} is {sum_}; its logits cannot be split into parts"
                )
        self.norm = final_norm(subject, tokens)

    def rows(self, tokens: mx.array, answers: list[int] | None, others: list[int] | None) -> list[LogitRow]:
        """The contributions in each row of a batch (B, L)."""
        batch = self.batch(tokens, answers, others)
        parts = {name: batch.contribution(value) for name, value in batch.terms.items()}
        parts["bias"] = batch.constant
        error = relative_error(np.sum(list(parts.values()), axis=0), batch.total)
        if error > 3 * self.tolerance:
            raise UnsupportedArchitecture(
                f"the parts of {self.subject.name} do not add up to its logits on this prompt (error {error:.1g})"
            )
        return [
            LogitRow(
                {name: float(value[row]) for name, value in parts.items()},
                float(batch.total[row]),
                int(batch.answers[row]),
            )
            for row in range(len(tokens))
        ]

    def batch(self, tokens: mx.array, answers: list[int] | None, others: list[int] | None) -> SplitBatch:
        """A batch (B, L) at its last position: the terms of its stream, and how they are read as the requested logits.

        Raises:
            UnsupportedArchitecture: the final norm or what follows is not linear, or attention is not its heads' sum.
        """
        terms, end, logits = self._terms(tokens)
        final = self._frozen(self.norm, end, "the final norm")
        rows = np.arange(len(tokens))
        answers = logits.argmax(axis=-1).tolist() if answers is None else answers
        total = logits[rows, answers] - (0 if others is None else logits[rows, others])
        slopes, constant = self._direction(final, end, answers, others)
        constant = constant + (final.bias * slopes).sum(axis=-1)
        return SplitBatch(terms, end, final, slopes, constant, total, tuple(answers))

    def added(self, layer: int, head: int, output: Floats) -> Floats:
        """What a head with an output (B, Dh) adds to the stream (B, D), in a block that adds its attention as it is.

        Raises:
            UnsupportedArchitecture: the block normalises its attention first, so that no head adds on its own.
        """
        factors = self.sums[layer].terms
        if "attn_out" not in factors:
            raise UnsupportedArchitecture(
                f"block {layer} of {self.subject.name} normalises its attention before it adds it; what one head "
                "adds depends on the others"
            )
        heads = self.subject.anatomy.parts[layer].heads
        alone = np.zeros((len(output), heads.num_heads if heads else 1, output.shape[-1]))
        alone[:, head] = output
        scale = np.prod([sum_.terms["resid_pre"] for sum_ in self.sums[layer + 1 :]])
        return projected_heads(self.subject, layer, alone)[0][:, head] * factors["attn_out"] * scale

    def _terms(self, tokens: mx.array) -> tuple[Terms, Floats, Floats]:
        """Terms (B, D) of the residual stream at the last position, that stream, and the logits (B, V) there."""
        subject, anatomy = self.subject, self.subject.anatomy
        layers = range(anatomy.num_layers)
        kinds = {
            layer: [kind for part, kind in PARTS.items() if getattr(anatomy.parts[layer], part)]
            for layer in layers
        }
        sites = [f"{kind}.{layer}" for layer in layers for kind in kinds[layer]]
        if self.heads:
            sites += [f"head_out.{layer}" for layer in layers if anatomy.parts[layer].o_proj]
        run = trace(subject, tokens, ["resid_pre.0", f"resid_post.{layers[-1]}", *sites], positions="last")
        at = {str(site): _last(run[site]) for site in run.captures}
        terms = {"embed": at["resid_pre.0"]}
        for layer in layers:
            factor = self.sums[layer].terms["resid_pre"]
            terms = {name: factor * value for name, value in terms.items()}
            for kind in kinds[layer]:
                terms |= self._added(layer, kind, at)
        return terms, at[f"resid_post.{layers[-1]}"], _last(run.logits[:, -1:])

    def _added(self, layer: int, kind: str, at: Mapping[str, Floats]) -> Terms:
        """The terms that a part of a block adds to the stream, normalised first where the block does so."""
        factors, value, name = self.sums[layer].terms, at[f"{kind}.{layer}"], f"{kind}.{layer}"
        parts: Terms = {name: value}
        if self.heads and kind == "attn_out" and f"head_out.{layer}" in at:
            parts = self._by_head(layer, at[f"head_out.{layer}"], value)
        if f"norm({kind})" not in factors:
            return {part: factors[kind] * term for part, term in parts.items()}
        norm = self.subject.anatomy.part(f"{PART_OF[kind]}_norm", layer)
        frozen = self._frozen(norm, value, f"the norm after {name}")
        factor = factors[f"norm({kind})"]
        normed = {part: factor * frozen.of(term) for part, term in parts.items()}
        if frozen.bias.any():
            normed[f"norm_bias.{layer}"] = np.broadcast_to(factor * frozen.bias, value.shape)
        return normed

    def _by_head(self, layer: int, heads: Floats, attn_out: Floats) -> Terms:
        """Each head's output (B, H, Dh) after the output projection, and that projection's bias."""
        projected, bias = projected_heads(self.subject, layer, heads)
        terms = {f"head_out.{layer}.{head}": projected[:, head] for head in range(heads.shape[1])}
        if bias.any():
            terms[f"attn_bias.{layer}"] = bias
        if relative_error(np.sum(list(terms.values()), axis=0), attn_out) > self.tolerance:
            raise UnsupportedArchitecture(
                f"attn_out.{layer} of {self.subject.name} is not the sum of its heads; leave heads out"
            )
        return terms

    def _frozen(self, norm: Any, rows: Floats, name: str) -> FrozenNorm:
        frozen = frozen_norm(norm, rows, getattr(mx, self.subject.dtype), self.tolerance)
        if frozen is None:
            raise UnsupportedArchitecture(
                f"{name} of {self.subject.name}, a {type(norm).__name__}, is not an RMSNorm or LayerNorm; "
                "its logits cannot be split into parts"
            )
        return frozen

    def _direction(
        self, final: FrozenNorm, end: Floats, answers: Sequence[int], others: Sequence[int] | None
    ) -> tuple[Floats, Floats]:
        """Gradients (B, D) of the requested logits by the final norm's output, and the logits (B,) at zero."""
        normed = final.of(end) + final.bias

        def requested(logits: mx.array) -> mx.array:
            picked = _picked(logits, answers)
            return picked if others is None else picked - _picked(logits, others)

        out = read_out(self.subject, self.norm, normed, requested)
        linear = out.constants + (normed * out.slopes).sum(axis=-1)
        if relative_error(linear, out.values) > 3 * self.tolerance:
            raise UnsupportedArchitecture(
                f"the logits of {self.subject.name} are not linear in what its final norm returns, as with a soft "
                "cap; they cannot be split into parts"
            )
        return out.slopes, out.constants


def _picked(logits: mx.array, ids: Sequence[int]) -> mx.array:
    return mx.take_along_axis(logits, mx.array(list(ids))[:, None], axis=1)[:, 0]


def _last(value: mx.array) -> Floats:
    return np.array(value[:, 0].astype(mx.float32), dtype=np.float64)
