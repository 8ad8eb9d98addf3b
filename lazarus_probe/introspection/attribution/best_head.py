"""Whether a model has a head of a kind, and what copying is lost without its best ones, on repeated random tokens.

`head_scores` names heads for a reader; here one number is judged. The head is chosen on some rows and measured on
others, in the model and in each control model alike: so a maximum over hundreds of heads flatters neither. Olsson et
al. 2022 (arXiv:2209.11895); ablation of the heads as there, against as many other heads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.ablation.config import AblationType
from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.introspection.ablation.methods import (
    Edits,
    ablated,
    ablation_damages,
    reference_rows,
    replacement,
)
from lazarus_probe.introspection.attribution.head_scores import attention_measured
from lazarus_probe.introspection.attribution.named_heads import Measured
from lazarus_probe.introspection.attribution.repeated_tokens import Rows
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced
from lazarus_probe.subject.finite import require_finite

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

Head = tuple[int, int]
# What a score is compared with on the same rows.
CONTROLS = {"induction": "shuffled_repeat", "duplicate": "shuffled_repeat", "previous": "even_attention"}
OTHER_SETS = 5  # sets of as many other heads


@dataclass(frozen=True, eq=False)
class HeadRows:
    """What the heads of a model and of control models do on the same rows.

    Attributes:
        own: of the model.
        others: by kind of control model, what measures them: each is run where a claim needs it.
        choosing: how many rows, the first ones, heads are chosen on.
    """

    own: Measured
    others: Mapping[str, Callable[[], Sequence[Measured]]]
    choosing: int


def head_rows(subject: Subject, untrained: ControlModels, drawn: Rows, choosing: int) -> HeadRows:
    """What the heads of a model do on rows of repeated tokens, and those of control models where a claim needs them.

    Args:
        subject: the model.
        untrained: at least three untrained models of its architecture.
        drawn: the rows.
        choosing: how many of them heads are chosen on.

    Raises:
        UnsupportedArchitecture: no attention patterns.
        ValueError: as `checked_models`, or no rows left to measure on.
    """
    if not 0 < choosing < len(drawn.repeated):
        raise ValueError(f"{choosing} of {len(drawn.repeated)} rows to choose on; leave some to measure on")

    def measured(models: Sequence[ControlModel | Subject]) -> Callable[[], Sequence[Measured]]:
        return cache(lambda: [attention_measured(built(model), drawn) for model in models])

    others = {kind: measured(models) for kind, models in faced(subject, untrained).items()}
    return HeadRows(attention_measured(subject, drawn), others, choosing)


def best_heads(measured: Measured, kind: str, choosing: int, count: int = 1) -> list[Head]:
    """Layers and heads with the largest gains over their control on the first rows, largest first.

    Raises:
        ValueError: fewer heads than that.
    """
    gains = (measured.scores[kind] - measured.controls[kind])[:choosing].mean(axis=0)
    ranked = np.argsort(np.where(np.isnan(gains), -np.inf, gains), axis=None)[::-1][:count]
    if count > np.isfinite(gains).sum():
        raise ValueError(f"{count} heads of {np.isfinite(gains).sum()}; give fewer")
    return [(int(i // gains.shape[1]), int(i % gains.shape[1])) for i in ranked]


def best_head(rows: HeadRows, kind: str, *, seed: int = 0, claim: Claim | None = None) -> Measurement:
    """The mean attention of the best head of a kind to its position, on rows that it was not chosen on.

    Controls: for `induction` and `duplicate`, `shuffled_repeat`, its attention to the same places where the second half
    is in another order; for `previous`, `even_attention`, attention spread evenly; and the best heads of control
    models, chosen and measured in the same way.

    Args:
        rows: what was measured.
        kind: `induction`, `duplicate` or `previous`.
        seed: of the intervals.
        claim: what the measurement is judged by.
    """
    head = best_heads(rows.own, kind, rows.choosing)[0]
    score = _of_head(rows.own.scores[kind], head, rows.choosing)
    control = {CONTROLS[kind]: _of_head(rows.own.controls[kind], head, rows.choosing)}

    def measure(controls: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        return rate(
            f"{kind} attention of the best head",
            score,
            [str(row) for row in range(len(score))],
            controls,
            seed=seed,
            details={"layer": head[0], "head": head[1]},
            unmeasured=left_out,
        )

    def best_of(models: Callable[[], Sequence[Measured]]) -> Callable[[], NDArray[Any]]:
        return lambda: np.stack(
            [
                _of_head(model.scores[kind], best_heads(model, kind, rows.choosing)[0], rows.choosing)
                for model in models()
            ]
        )

    return as_needed(claim, measure, {name: best_of(models) for name, models in rows.others.items()}, control)


def _of_head(scores: NDArray[Any], head: Head, choosing: int) -> NDArray[np.float64]:
    return np.asarray(scores[choosing:, head[0], head[1]], dtype=np.float64)


def copying_lost(
    subject: Subject,
    drawn: Rows,
    heads: Sequence[Head],
    choosing: int,
    *,
    ablation: AblationType = AblationType.MEAN,
    seed: int = 0,
    unrelated: Unrelated | None = None,
) -> Measurement:
    """The share of repeated tokens that a model predicts, and no longer does with some heads ablated.

    Control: `other_heads`, the share lost without as many other heads, in 5 sets that are drawn from all layers.

    Args:
        subject: the model.
        drawn: rows of repeated tokens.
        heads: to ablate; chosen on the first rows.
        choosing: how many rows are left out for that, from which replacements are made.
        ablation: what heads are set to.
        seed: of the other heads and of intervals.
        unrelated: prompts to measure the damage on.

    Raises:
        ValueError: the model repeats no token, or it has too few other heads.
    """
    tokens = drawn.repeated[choosing:]
    chosen = [Site("head_out", layer, head) for layer, head in heads]
    pool = [site for site in head_sites(subject) if site not in chosen]
    if len(pool) < len(heads):
        raise ValueError(f"{len(heads)} heads to ablate, and {len(pool)} others; give fewer")
    rng = np.random.default_rng(seed)
    others = [[pool[i] for i in rng.choice(len(pool), len(heads), replace=False)] for _ in range(OTHER_SETS)]
    sets = [chosen, *others]
    sites = list(dict.fromkeys(site for of_set in sets for site in of_set))
    references = reference_rows(subject, drawn.repeated[:choosing].tolist(), sites)
    edits: list[Edits] = [
        {site: replacement(ablation, references[site], seed) for site in of_set} for of_set in sets
    ]
    plain = _repeats(subject, tokens, drawn, {})
    copied = plain.any(axis=1)
    if not copied.any():
        raise ValueError(f"{subject.name} repeats no token of the second half, so none can be lost")
    lost = [
        1 - (plain & _repeats(subject, tokens, drawn, edit))[copied].sum(axis=1) / plain[copied].sum(axis=1)
        for edit in edits
    ]
    return rate(
        "share of repeated tokens lost",
        lost[0],
        [str(row) for row in np.flatnonzero(copied)],
        {"other_heads": np.stack(lost[1:])},
        seed=seed,
        details={
            "heads": [f"L{layer} head {head}" for layer, head in heads],
            "repeated": float(plain.mean()),
        },
        damage=ablation_damages(subject, [edits[0]], unrelated, seed)[0],
    )


def repeated_share(subject: Subject, drawn: Rows, choosing: int) -> float:
    """The share of tokens of the second half, but its first, that the model predicts, on rows not chosen on."""
    return float(_repeats(subject, drawn.repeated[choosing:], drawn, {}).mean())


def _repeats(subject: Subject, tokens: NDArray[np.int32], drawn: Rows, edits: Edits) -> NDArray[np.bool_]:
    """(R, T - 1) whether each token of the second half but the first is the most probable."""
    first = drawn.start + drawn.length
    with ablated(subject, edits):
        logits = forward(subject.model, mx.array(tokens))
    require_finite(subject, mx.array(tokens), logits)
    return np.array(logits[:, first:-1].argmax(axis=-1)) == tokens[:, first + 1 :]
