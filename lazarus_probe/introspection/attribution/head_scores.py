"""What heads attend to on repeated random tokens: induction, duplicate-token and previous-token heads.

Olsson et al. 2022 (arXiv:2209.11895). Repeated random tokens have no meaning: a head that attends, from a token's
second occurrence, to the token after its first one does so by matching. Controls: the same positions where the second
half is in another order (position alone, or a preference for these tokens), and the best head of several untrained
and lesioned models.
"""

# ruff: noqa: N806 - H, L and T are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold
from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.attribution.named_heads import (
    CLAIM,
    KINDS,
    Kind,
    Measured,
    heat_map,
    judged,
    kind_data,
)
from lazarus_probe.introspection.attribution.repeated_tokens import Rows, repeated_tokens
from lazarus_probe.introspection.lens.logit_lens import LOGITS_PER_BATCH
from lazarus_probe.statistics.student import Estimate, mean_t_interval
from lazarus_probe.subject.control_models import COUNT, built, control_models, faced
from lazarus_probe.subject.finite import refuse, require_finite
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.progress import bar

FEWEST_ROWS = 5  # 5 signs have 32 patterns
PATTERN_BYTES = 2**27
TokenEdits = Callable[[NDArray[np.int32]], Sequence[Intervention]]


@dataclass(frozen=True, eq=False)
class HeadScores:
    """Scores of all heads of a model.

    Attributes:
        kinds: by name: "induction", "duplicate", "previous".
        length: tokens of each half.
        rows: sequences that were run.
        threshold: the least gain of a head that has a name: the declared one, or the requested one.
        loss: mean loss in nats in the first and in the second half, and in a second half in another order.
        loss_gain: first half minus second half, with its interval over rows.
        copying_gain: second half in another order minus second half, with its interval over rows.
        seed: of the tokens.
    """

    kinds: Mapping[str, Kind]
    length: int
    rows: int
    threshold: float
    loss: Mapping[str, float]
    loss_gain: Estimate
    copying_gain: Estimate
    seed: int

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "length": self.length,
            "rows": self.rows,
            "threshold": self.threshold,
            "seed": self.seed,
            "loss": dict(self.loss),
            "loss_gain": {end: float(value) for end, value in self.loss_gain._asdict().items()},
            "copying_gain": {end: float(value) for end, value in self.copying_gain._asdict().items()},
            **{name: kind_data(name, kind) for name, kind in self.kinds.items()},
        }

    def _repr_html_(self) -> str:
        return "".join(heat_map(name, kind) for name, kind in self.kinds.items())


def head_scores(
    subject: Subject,
    length: int = 50,
    rows: int = 8,
    *,
    vocabulary: Sequence[int] | None = None,
    threshold: float | None = None,
    untrained: int = COUNT,
    seed: int = 0,
    progress: bool = False,
) -> HeadScores:
    """Score every head on rows of random tokens that come twice.

    Args:
        subject: the model.
        length: tokens T of each half; a row has 2 T, after the beginning-of-sequence token.
        rows: sequences, the independent units of intervals and p; at least 5.
        vocabulary: token ids to draw from; all but the special tokens by default.
        threshold: the least gain of a head that is given a name, in place of the declared one.
        untrained: how many untrained models to compare with, and lesioned ones of each kind; at least 3.
        seed: of the tokens.
        progress: show a bar, where standard error is a terminal.

    Raises:
        ValueError: too few rows, untrained models or tokens, a model without attention patterns, or a threshold
            outside [-1, 1].

    Example:
        >>> from lazarus_probe import head_scores
        >>> result = head_scores(subject, length=10, rows=5, untrained=3)
        >>> list(result.kinds)
        ['induction', 'duplicate', 'previous']
        >>> np.shape(result.as_data()["induction"]["scores"])  # (layers, heads)
        (8, 4)
    """
    if rows < FEWEST_ROWS:
        raise ValueError(f"rows is {rows}; give at least {FEWEST_ROWS}: fewer have no p below 0.05")
    if untrained < 3:
        raise ValueError(f"{untrained} untrained models; give at least 3, for their spread to be known")
    claim = declared(CLAIM) if threshold is None else at_threshold(CLAIM, threshold)
    drawn = repeated_tokens(subject, length, rows, vocabulary, seed)
    controls = faced(subject, control_models(subject, count=untrained))
    with bar(1 + sum(map(len, controls.values())), progress, "heads", "models") as step:
        own = attention_measured(subject, drawn)
        step(1)
        others: dict[str, list[Measured]] = {kind: [] for kind in controls}
        for kind, models in controls.items():
            for model in models:
                others[kind].append(attention_measured(built(model), drawn))
                step(1)
    kinds = judged(own, others, claim, seed)
    first, second, shuffled = repeat_losses(subject, drawn)
    return HeadScores(
        kinds,
        length,
        rows,
        claim.threshold,
        {
            "first_half": float(first.mean()),
            "second_half": float(second.mean()),
            "second_half_in_another_order": float(shuffled.mean()),
        },
        mean_t_interval(first - second),
        mean_t_interval(shuffled - second),
        seed,
    )


def attention_to(pattern: NDArray[Any], start: int, length: int) -> dict[str, NDArray[Any]]:
    """By kind mean attention (R, H) to its position, from patterns (R, H, L, S) of rows of `repeated_tokens`.

    `induction`: from each token of the second half but its first, to the token after its first occurrence, T - 1 back
    (from the first too: it is in the first half). `duplicate`: to its first occurrence, T back. `previous`: to the
    token before, from all tokens.
    """
    second = np.arange(start + length, start + 2 * length)
    queries = np.arange(max(1, start), start + 2 * length)
    positions = {
        "induction": (second, second - length + 1),
        "duplicate": (second, second - length),
        "previous": (queries, queries - 1),
    }
    return {name: pattern[:, :, at, to].mean(axis=-1) for name, (at, to) in positions.items()}


def attention_measured(subject: Subject, drawn: Rows, edits: TokenEdits = lambda _: ()) -> Measured:
    """Scores and controls of one model, or of the model under edits; nothing after its last pattern is computed.

    Args:
        subject: the model.
        drawn: the rows.
        edits: from tokens (B, L) to what is done while they are run.

    Raises:
        UnsupportedArchitecture: no attention patterns, or a window that does not hold a row.
    """
    scores = _run(subject, drawn.repeated, drawn, edits)
    controls = _run(subject, drawn.shuffled, drawn, edits)
    queries = np.arange(max(1, drawn.start), drawn.start + 2 * drawn.length)
    controls["previous"] = np.full_like(scores["previous"], (1 / (queries + 1)).mean())
    controls["previous"][np.isnan(scores["previous"])] = np.nan
    return Measured(scores, controls)


def repeat_losses(subject: Subject, drawn: Rows) -> NDArray[Any]:
    """(3, R) mean losses in nats: of the first half, of the second, and of the second in another order.

    A half counts from its second token on: the first one of the second half cannot be predicted.
    """
    middle = drawn.start + drawn.length - 1
    repeated, shuffled = (_losses(subject, tokens) for tokens in (drawn.repeated, drawn.shuffled))
    first = repeated[:, max(0, drawn.start - 1) : middle].mean(axis=1)
    return np.stack([first, *(losses[:, middle + 1 :].mean(axis=1) for losses in (repeated, shuffled))])


def _run(
    subject: Subject, tokens: NDArray[np.int32], drawn: Rows, edits: TokenEdits
) -> dict[str, NDArray[Any]]:
    """By kind scores (R, layers, H)."""
    anatomy = subject.anatomy
    layers = [layer for layer in range(anatomy.num_layers) if "pattern" in kinds_at(anatomy, layer)]
    sites = [Site("pattern", layer) for layer in layers]
    if not sites:
        raise UnsupportedArchitecture(f"{subject.name} has no attention patterns, so no heads to score")
    heads = max(anatomy.parts[layer].heads.num_heads for layer in layers)  # type: ignore[union-attr]
    R, L = tokens.shape
    scores = {name: np.full((R, anatomy.num_layers, heads), np.nan) for name in KINDS}
    size = max(1, PATTERN_BYTES // (len(sites) * heads * L * L * 4))
    for part in (slice(begin, begin + size) for begin in range(0, R, size)):
        with hooked(subject, sites, edits(tokens[part])) as captured:
            forward(subject.model, mx.array(tokens[part]))
        for site in sites:
            pattern = np.array(captured[site].astype(mx.float32))
            if not np.isfinite(pattern).all():
                refuse(subject, mx.array(tokens[part]), f"values at {site}")
            if pattern.shape[2:] != (L, L):
                raise UnsupportedArchitecture(
                    f"{site} of {subject.name} is {pattern.shape[2:]}, not {L} by {L} positions; "
                    "give a smaller length, that its window holds"
                )
            for name, attention in attention_to(pattern, drawn.start, drawn.length).items():
                scores[name][part, site.layer, : attention.shape[1]] = attention
    return scores


def _losses(subject: Subject, tokens: NDArray[np.int32]) -> NDArray[Any]:
    """(R, L - 1) the loss of every token but the first, in nats."""
    size = max(1, LOGITS_PER_BATCH // (subject.anatomy.vocab_size * tokens.shape[1]))
    parts = [mx.array(tokens[begin : begin + size]) for begin in range(0, len(tokens), size)]
    return np.concatenate([_losses_of(subject, part) for part in parts])


def _losses_of(subject: Subject, tokens: mx.array) -> NDArray[Any]:
    logits = require_finite(subject, tokens, forward(subject.model, tokens))[:, :-1].astype(mx.float32)
    picked = mx.take_along_axis(logits, tokens[:, 1:, None], axis=-1)[..., 0]
    return np.array(mx.logsumexp(logits, axis=-1) - picked)
