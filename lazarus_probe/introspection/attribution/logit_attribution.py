"""Direct logit attribution: the direct contribution of each component to a logit, or to the difference of two.

Elhage et al. 2021, "A Mathematical Framework for Transformer Circuits"; made common practice by Nanda's
TransformerLens. The residual stream is a sum, the unembedding is linear, and so is the final norm with its scale
frozen. So the logit is the sum of one number per component, which is checked on every prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.attribution.frozen_norm import (
    relative_error,
)
from lazarus_probe.introspection.attribution.logit_split import LogitSplit
from lazarus_probe.statistics.student import Estimate, mean_t_interval, signed_estimate
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

BAR = 24  # characters of the longest bar
Floats = NDArray[np.float64]


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
    split = LogitSplit(subject, heads)
    encoded = encode_all(subject, prompts)
    if not encoded:
        raise ValueError("no prompts; give at least one")
    others = None if other is None else token_ids(subject, other, len(encoded))
    answers = None if answer is None else token_ids(subject, answer, len(encoded))
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


def token_ids(subject: Subject, tokens: int | str | Sequence[int | str], count: int) -> list[int]:
    """One token id a prompt, from one token or word, or one of them per prompt.

    Raises:
        ValueError: not one per prompt, a word that is not one token, or a token outside the vocabulary.
    """
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
