"""Direct logit attribution: the direct contribution of each component to a logit, or to the difference of two.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; made common practice by Nanda's
TransformerLens. The residual stream is a sum, the unembedding is linear, and so is the final norm with its scale
frozen. So the logit is the sum of one number per component, which is checked on every prompt.
"""

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
from lazarus_probe.statistics.student import Estimate, mean_t_interval, signed_estimate
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LENGTH = 12
BAR = 24  # characters of the longest bar
PART_OF = {kind: part for part, kind in PARTS.items()}
Floats = NDArray[np.float64]
Terms = dict[str, Floats]


@dataclass(frozen=True, eq=False)
class LogitAttribution:
    """Direct contributions to a logit, or to the difference of two, at the last position.

    Attributes:
        parts: names of the components: `embed`, `attn_out.L` or `head_out.L.H` and `attn_bias.L`, `mixer_out.L`,
            `mlp_out.L`, and `bias` for the constants of the final norm and the unembedding.
        values: (P, parts) contributions, in logits.
        total: (P,) the model's own logit, or difference.
        answers: (P,) token ids.
        others: (P,) token ids, or None for the logit of the answers alone.
        answer_texts: (P,) the tokens as text.
        other_texts: likewise.
    """

    parts: tuple[str, ...]
    values: Floats
    total: Floats
    answers: tuple[int, ...]
    others: tuple[int, ...] | None
    answer_texts: tuple[str, ...]
    other_texts: tuple[str, ...] | None

    @property
    def residual_error(self) -> float:
        """Largest difference of the sum of the parts from the model's own, relative to the largest total."""
        return relative_error(self.values.sum(axis=1), self.total)

    @property
    def estimate(self) -> Estimate:
        """Mean contribution of each part over prompts (parts,), with its interval."""
        return mean_t_interval(self.values)

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        estimate = self.estimate
        return {
            "n": len(self.total),
            "answer": list(self.answer_texts),
            "answer_id": list(self.answers),
            "other": None if self.other_texts is None else list(self.other_texts),
            "other_id": None if self.others is None else list(self.others),
            "total": self.total.tolist(),
            "sum": self.values.sum(axis=1).tolist(),
            "residual_error": self.residual_error,
            "parts": [
                {
                    "part": part,
                    "contribution": float(estimate.mean[index]),
                    "low": float(estimate.low[index]),
                    "high": float(estimate.high[index]),
                    "contributions": self.values[:, index].tolist(),
                }
                for index, part in enumerate(self.parts)
            ],
        }

    def table(self, top: int | None = None) -> Table:
        """Each part with a bar and its contribution: all in order, or the `top` largest."""
        estimate, sizes = self.estimate, np.abs(self.estimate.mean)
        largest = float(sizes.max()) or 1.0
        order = range(len(sizes)) if top is None else np.argsort(-sizes, kind="stable")[:top]
        rows = []
        for index in order:
            mean, low, high = (float(values[index]) for values in estimate)
            bar = ("+" if mean >= 0 else "-") * round(BAR * abs(mean) / largest)
            rows.append(
                (self.parts[index], bar, Cell(signed_estimate(mean, low, high), shade=mean / largest))
            )
        columns = (Column("Part", width=16), Column("", width=BAR), Column("Contribution"))
        return Table(columns, rows, f"direct contributions, {self.total.mean():.3f} in all")

    def _repr_html_(self) -> str:
        return self.table().html()


def logit_attribution(
    subject: Subject,
    prompts: Sequence[Prompt],
    answer: int | str | Sequence[int | str] | None = None,
    other: int | str | Sequence[int | str] | None = None,
    heads: bool = False,
) -> LogitAttribution:
    """Split the logit of an answer, or its difference from another's, into the components' direct contributions.

    Args:
        subject: the model.
        prompts: P texts or token id sequences.
        answer: a token or a word that is one, or one per prompt; the model's top token by default.
        other: compared with the answer; None for the logit of the answer alone.
        heads: split each attention output into its heads.

    Raises:
        UnsupportedArchitecture: the model's logits are not such a sum; the message says where it fails.
        ValueError: no prompts, or a word that is not one token.

    Example:
        >>> from lazarus_probe import logit_attribution
        >>> result = logit_attribution(subject, ["7*8=", "6*9="], answer=["56", "54"], other=["15", "15"])
        >>> result.parts[:4]
        ('embed', 'attn_out.0', 'mlp_out.0', 'attn_out.1')
        >>> result.values.shape  # (prompts, parts)
        (2, 18)
        >>> np.allclose(result.values.sum(axis=1), result.total, atol=1e-3)
        True
    """
    split = _Split(subject, heads)
    encoded = encode_all(subject, prompts)
    if not encoded:
        raise ValueError("no prompts; give at least one")
    others = None if other is None else _ids(subject, other, len(encoded))
    answers = None if answer is None else _ids(subject, answer, len(encoded))
    rows: list[Any] = [None] * len(encoded)
    for indices, tokens in by_length(encoded):
        pair = [None if ids is None else [ids[index] for index in indices] for ids in (answers, others)]
        for index, row in zip(indices, split.rows(tokens, *pair), strict=True):
            rows[index] = row
    parts = tuple(rows[0].terms)
    tops = tuple(row.answer for row in rows)
    return LogitAttribution(
        parts,
        np.array([[row.terms[part] for part in parts] for row in rows]),
        np.array([row.total for row in rows]),
        tops,
        None if others is None else tuple(others),
        tuple(_text(subject, token) for token in tops),
        None if others is None else tuple(_text(subject, token) for token in others),
    )


@dataclass(frozen=True, eq=False)
class _Row:
    terms: Mapping[str, float]
    total: float
    answer: int


class _Split:
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

    def rows(self, tokens: mx.array, answers: list[int] | None, others: list[int] | None) -> list[_Row]:
        """The contributions in each row of a batch (B, L)."""
        subject = self.subject
        terms, end, logits = self._terms(tokens)
        final = self._frozen(self.norm, end, "the final norm")
        rows = np.arange(len(tokens))
        answers = logits.argmax(axis=-1).tolist() if answers is None else answers
        total = logits[rows, answers] - (0 if others is None else logits[rows, others])
        slopes, constant = self._direction(final, end, answers, others)
        parts = {name: (final.of(value) * slopes).sum(axis=-1) for name, value in terms.items()}
        parts["bias"] = constant + (final.bias * slopes).sum(axis=-1)
        error = relative_error(np.sum(list(parts.values()), axis=0), total)
        if error > 3 * self.tolerance:
            raise UnsupportedArchitecture(
                f"the parts of {subject.name} do not add up to its logits on this prompt (error {error:.1g})"
            )
        return [
            _Row(
                {name: float(value[row]) for name, value in parts.items()},
                float(total[row]),
                int(answers[row]),
            )
            for row in rows
        ]

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


def _ids(subject: Subject, tokens: int | str | Sequence[int | str], count: int) -> list[int]:
    by_prompt = [tokens] * count if isinstance(tokens, int | str) else list(tokens)
    if len(by_prompt) != count:
        raise ValueError(f"{len(by_prompt)} tokens for {count} prompts; give one, or one per prompt")
    ids = [subject.single_token(token) if isinstance(token, str) else int(token) for token in by_prompt]
    size = subject.anatomy.vocab_size
    if outside := [token for token in ids if not 0 <= token < size]:
        raise ValueError(f"token {outside[0]} is outside the vocabulary, 0 to {size - 1}")
    return ids


def _text(subject: Subject, token: int) -> str:
    return str(token) if subject.tokenizer is None else subject.decode([token])
