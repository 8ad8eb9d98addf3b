"""What heads would do by their weights: copying, successor, previous-token, duplicate-token and induction circuits.

Elhage et al. 2021; Olsson et al. 2022 (arXiv:2209.11895); Gould et al. 2023 (arXiv:2312.09230). A pattern says what a
head attended to on some prompts; the circuits say what its weights make of tokens without any context. OV: which token
a head raises most where it attends to one. QK: where a head attends if every block is given tokens alone; and for
induction, tokens together with what the OV circuit of one previous-token head would add to them (K-composition). Which
head that is is shown by patterns: in a deep model it need not find the token before without context.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold
from lazarus_probe.hooks.interventions import Intervention, patch
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.attribution.head_scores import attention_measured
from lazarus_probe.introspection.attribution.named_heads import (
    KINDS,
    Kind,
    Measured,
    heat_map,
    judged,
    kind_data,
)
from lazarus_probe.introspection.attribution.ordered_words import FEWEST_MEMBERS, ordered_tokens
from lazarus_probe.introspection.attribution.ov_scores import CircuitKind, ov_scores
from lazarus_probe.introspection.attribution.repeated_tokens import Rows, repeated_tokens
from lazarus_probe.introspection.attribution.token_states import (
    from_tokens_alone,
    ov_outputs,
    token_states,
)
from lazarus_probe.subject.control_models import COUNT, built, control_models, faced
from lazarus_probe.subject.subject import Subject
from lazarus_probe.sweep.progress import bar

CLAIM = "head-has-a-circuit"
FAMILIES = 2  # heads on rows of random tokens, and heads on sequences
FEWEST_ROWS = 6  # twice 1 / 2 ** 6 is below .05


@dataclass(frozen=True, eq=False)
class HeadCircuits:
    """Scores of all heads of a model by their weights.

    Attributes:
        kinds: by name, those that could be measured: "copying" and "successor", the share of tokens for which the
            head's OV circuit raises the token itself, or the next of its sequence, above all others of its row; and
            "previous", "duplicate", "induction", mean attention where blocks are given tokens alone.
        patterns: by name (layers, H), for "previous", "duplicate" and "induction", attention in the model's own run.
        agreement: by name, the rank correlation over heads of score and pattern.
        through: layer and head whose output induction's keys are composed with, the one whose patterns give the token
            before most; None without induction.
        sequences: by name, how many words of each sequence were counted through.
        left_out: by name of a kind or of a sequence, why it was not measured.
        length: random tokens T in a row.
        rows: of random tokens.
        threshold: the least gain of a head that has a name.
        seed: of the tokens.
    """

    kinds: Mapping[str, Kind]
    patterns: Mapping[str, NDArray[Any]]
    agreement: Mapping[str, float]
    through: tuple[int, int] | None
    sequences: Mapping[str, int]
    left_out: Mapping[str, str]
    length: int
    rows: int
    threshold: float
    seed: int

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "length": self.length,
            "rows": self.rows,
            "threshold": self.threshold,
            "seed": self.seed,
            "through": None
            if self.through is None
            else dict(zip(("layer", "head"), self.through, strict=True)),
            "sequences": dict(self.sequences),
            "left_out": dict(self.left_out),
            "agreement": dict(self.agreement),
            "patterns": {name: pattern.tolist() for name, pattern in self.patterns.items()},
            **{name: kind_data(name, kind, CLAIM) for name, kind in self.kinds.items()},
        }

    def _repr_html_(self) -> str:
        return "".join(heat_map(name, kind) for name, kind in self.kinds.items())


def head_circuits(
    subject: Subject,
    length: int = 50,
    rows: int = 8,
    *,
    sequences: Mapping[str, Sequence[int]] | None = None,
    vocabulary: Sequence[int] | None = None,
    threshold: float | None = None,
    untrained: int = COUNT,
    seed: int = 0,
    progress: bool = False,
) -> HeadCircuits:
    """Score every head by its OV and QK circuits, on tokens without context.

    Controls: for "copying" and "successor", how often the head names another token of the row or sequence; for the
    others those of `head_scores`; for all, the best head of untrained and of lesioned models. P is corrected for all
    heads and kinds.

    Args:
        subject: the model.
        length: random tokens T in a row.
        rows: of random tokens, units of intervals and p; at least 6.
        sequences: by name, token ids in order, at least 5 each; by default days, months, letters, numerals and the
            like, as far as they are single tokens. At least 6 sequences, or there is no "successor".
        vocabulary: token ids to draw from; all but the special tokens by default.
        threshold: the least gain of a head that is given a name, in place of the declared one.
        untrained: how many untrained models to compare with, and lesioned ones of each kind; at least 3.
        seed: of the tokens.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: no attention, several residual streams, or logits that no residual alone has.
        ValueError: too few rows, tokens or untrained models, or a sequence that is too short or repeats a token.

    Example:
        >>> from lazarus_probe.introspection import head_circuits
        >>> result = head_circuits(subject, length=8, rows=6, untrained=3)
        >>> sorted(result.kinds)
        ['copying', 'duplicate', 'induction', 'previous', 'successor']
        >>> np.shape(result.kinds["copying"].score)  # (layers, heads)
        (8, 4)
    """
    if rows < FEWEST_ROWS:
        raise ValueError(f"rows is {rows}; give at least {FEWEST_ROWS}: fewer have no p below 0.05")
    if untrained < 3:
        raise ValueError(f"{untrained} untrained models; give at least 3, for their spread to be known")
    claim = declared(CLAIM) if threshold is None else at_threshold(CLAIM, threshold)
    drawn = repeated_tokens(subject, length, rows, vocabulary, seed)
    ordered, left_out = _sequences(subject, sequences)
    controls = faced(subject, control_models(subject, count=untrained))
    models: dict[str, list[_Circuits]] = {kind: [] for kind in controls}
    with bar(1 + sum(map(len, controls.values())), progress, "circuits", "models") as step:
        own = _measure(subject, drawn, ordered)
        step(1)
        for kind, of_kind in controls.items():
            for model in of_kind:
                models[kind].append(_measure(built(model), drawn, ordered))
                step(1)
    kinds: dict[str, Kind] = {}
    for family, measured in own.families.items():
        others = {kind: [model.families[family] for model in of_kind] for kind, of_kind in models.items()}
        kinds |= judged(measured, others, claim, seed, FAMILIES)
    if own.through is None:
        left_out["induction"] = "no previous-token head has a block with attention above it to be read by"
    means = {name: own.patterns[name].mean(axis=0) for name in KINDS if name in kinds}
    return HeadCircuits(
        kinds,
        means,
        {name: _rank_correlation(kinds[name].score, pattern) for name, pattern in means.items()},
        own.through,
        {name: len(tokens) for name, tokens in ordered.items()},
        left_out,
        length,
        rows,
        claim.threshold,
        seed,
    )


@dataclass(frozen=True, eq=False)
class _Circuits:
    """One model: by family what was measured, its patterns by kind (R, layers, H), and the head of composition."""

    families: Mapping[str, Measured]
    patterns: Mapping[str, NDArray[Any]]
    through: tuple[int, int] | None


def _measure(subject: Subject, drawn: Rows, ordered: Mapping[str, Sequence[int]]) -> _Circuits:
    patterns = attention_measured(subject, drawn).scores
    tokens = np.unique(drawn.repeated)  # those of the shuffled rows too
    states = token_states(subject, tokens)
    alone = attention_measured(subject, drawn, partial(_alone, subject, tokens, states))
    scores, controls = dict(alone.scores), dict(alone.controls)
    del scores["induction"], controls["induction"]
    through = _best_below(subject, patterns["previous"])
    if through is not None:
        layer, head = through
        outputs = next(outputs for number, outputs in ov_outputs(subject, tokens, states) if number == layer)
        added = mx.array(outputs[:, head]).astype(states.dtype)
        edits = partial(_composed, subject, layer, tokens, states, added)
        composed = attention_measured(subject, drawn, edits)
        above = np.arange(subject.num_layers)[:, None] > layer
        for values, of in ((scores, composed.scores), (controls, composed.controls)):
            values["induction"] = np.where(above, of["induction"], np.nan)
    first_halves = drawn.repeated[:, drawn.start : drawn.start + drawn.length]
    circuits: dict[CircuitKind, Sequence[Sequence[int]]] = {"copying": first_halves.tolist()}
    if ordered:
        circuits["successor"] = list(ordered.values())
    by_kind = ov_scores(subject, circuits)
    scores["copying"], controls["copying"] = by_kind["copying"]
    families = {"rows": Measured(scores, controls)}
    if ordered:
        score, control = by_kind["successor"]
        families["sequences"] = Measured({"successor": score}, {"successor": control})
    return _Circuits(families, patterns, through)


def _alone(
    subject: Subject, tokens: NDArray[np.int32], states: mx.array, rows: NDArray[np.int32]
) -> list[Intervention]:
    """Every block gets the states (N, D) of tokens (N,) in rows (R, L) of them."""
    return from_tokens_alone(subject, states[mx.array(np.searchsorted(tokens, rows))])


def _composed(
    subject: Subject,
    layer: int,
    tokens: NDArray[np.int32],
    states: mx.array,
    added: mx.array,
    rows: NDArray[np.int32],
) -> list[Intervention]:
    """As `_alone`; above a layer, each token also has what a head adds (N, D) where it attends to the token before."""
    places = mx.array(np.searchsorted(tokens, rows))
    own, added = states[places], added[places]
    moved = mx.concatenate([mx.zeros_like(added[:, :1]), added[:, :-1]], axis=1)
    return [
        patch(Site("resid_pre", number), own + moved if number > layer else own)
        for number in range(1, subject.num_layers)
    ]


def _best_below(subject: Subject, previous: NDArray[Any]) -> tuple[int, int] | None:
    """The head with the most attention to the token before (R, layers, H), of those with a block of attention above."""
    anatomy = subject.anatomy
    last = max(layer for layer in range(anatomy.num_layers) if "pattern" in kinds_at(anatomy, layer))
    separable = [
        layer
        for layer, parts in enumerate(anatomy.parts[:last])
        if parts.o_proj and {"pattern", "head_out"} <= set(kinds_at(anatomy, layer))
    ]
    if not separable:
        return None
    means = previous.mean(axis=0)[separable]
    layer, head = np.unravel_index(np.nanargmax(means), means.shape)
    return separable[int(layer)], int(head)


def _sequences(
    subject: Subject, requested: Mapping[str, Sequence[int]] | None
) -> tuple[dict[str, Sequence[int]], dict[str, str]]:
    """The sequences to count through, and why others, or all, are left out."""
    if requested is not None:
        for name, tokens in requested.items():
            if len(tokens) < FEWEST_MEMBERS or len(set(tokens)) < len(tokens):
                raise ValueError(
                    f"sequence {name!r} has {len(set(tokens))} different tokens of {len(tokens)}; give at least "
                    f"{FEWEST_MEMBERS}, each once"
                )
        ordered, left_out = dict(requested), dict[str, str]()
    elif subject.tokenizer is None:
        return {}, {
            "successor": f"{subject.name} has no tokenizer to find words with; give sequences of token ids"
        }
    else:
        words = ordered_tokens(subject)
        ordered, left_out = dict(words.tokens), dict(words.left_out)
    if len(ordered) < FEWEST_ROWS:
        names = ", ".join(ordered) or "none"
        left_out["successor"] = (
            f"{len(ordered)} sequences ({names}); {FEWEST_ROWS} are needed for a p below 0.05"
        )
        return {}, left_out
    return ordered, left_out


def _rank_correlation(scores: NDArray[Any], pattern: NDArray[Any]) -> float:
    """Spearman's, over the heads for which both are defined; NaN where one is the same for all."""
    from scipy.stats import rankdata

    defined = ~(np.isnan(scores) | np.isnan(pattern))
    ranks = [rankdata(values[defined]) for values in (scores, pattern)]
    if min(np.ptp(rank) for rank in ranks) == 0:
        return float("nan")
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
