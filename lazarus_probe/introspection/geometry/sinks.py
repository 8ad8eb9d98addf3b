"""Attention sinks and massive activations on random tokens: how large, where, and what they are for.

Xiao et al. 2023 (arXiv:2309.17453): most heads give the first token most of their attention, whatever it says. Sun et
al. 2024 (arXiv:2402.17762): a few activations there are thousands of times the median; set to zero they break the
model, set to their mean they do not. So the first token is taken away or replaced, and the activations are set to zero,
to their mean, and as many others are, or are pushed as far.
"""

# ruff: noqa: N806 - R, L and H are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.introspection.generation.damage import Unrelated
from lazarus_probe.introspection.geometry.sink_runs import (
    FirstTokenAttention,
    MassiveDimensions,
    MassiveEdit,
    common_massive,
    first_token_attention,
    magnitudes,
    massive_edits,
)
from lazarus_probe.statistics.student import Estimate
from lazarus_probe.subject.control_models import built, control_models, faced
from lazarus_probe.subject.random_tokens import begin_token, random_rows
from lazarus_probe.sweep.progress import bar

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True, eq=False)
class AttentionSinks:
    """Sinks and massive activations of a model on R rows of random tokens.

    Attributes:
        tokens: L of a row, the beginning-of-sequence token not counted.
        rows: R.
        begins: whether the tokenizer puts a beginning-of-sequence token before a text.
        conditions: by what the rows begin with, the attention to their first token; "as given" first.
        moved: the attention to the first token's text where it stands in the middle of the row.
        even: the mean attention to the first token of a head that attends evenly.
        largest: (layers,) the largest magnitude after each block, a mean over rows.
        medians: (layers,) the median magnitude.
        place: the dimension, position and block of the largest activation of all, and the share of rows that have
            theirs at that dimension and position.
        massive: None where most rows have no massive activation at one place.
        edits: by name, where there are any: "set to zero", "set to their mean", "as many others set to zero", "others
            pushed as far".
        models: by kind of control model, each one's share of heads and largest ratio of magnitude to median.
        left_out: by name of a condition or an edit, why it was not measured.
        seed: of tokens and of the other dimensions.
    """

    tokens: int
    rows: int
    begins: bool
    conditions: Mapping[str, FirstTokenAttention]
    moved: FirstTokenAttention
    even: float
    largest: NDArray[np.float64]
    medians: NDArray[np.float64]
    place: tuple[int, int, int, float]
    massive: MassiveDimensions | None
    edits: Mapping[str, MassiveEdit]
    models: Mapping[str, tuple[tuple[float, float], ...]]
    left_out: Mapping[str, str]
    seed: int

    @property
    def ratio(self) -> float:
        """The largest magnitude over the median, after the block where that is largest; infinite over a median of 0."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.nanmax(self.largest / self.medians))

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        dimension, position, layer, share = self.place
        return {
            "tokens": self.tokens,
            "rows": self.rows,
            "begins": self.begins,
            "seed": self.seed,
            "even": self.even,
            "conditions": {
                name: {"share": _ends(of.share), "by_layer": of.by_layer.tolist()}
                for name, of in {**self.conditions, "first token moved": self.moved}.items()
            },
            "largest": self.largest.tolist(),
            "medians": self.medians.tolist(),
            "ratio": self.ratio,
            "place": {"dimension": dimension, "position": position, "layer": layer, "share_of_rows": share},
            "massive": None if self.massive is None else asdict(self.massive),
            "edits": {
                name: {
                    "share": _ends(edit.share),
                    "damage": None if edit.damage is None else asdict(edit.damage),
                }
                for name, edit in self.edits.items()
            },
            "models": {kind: [list(pair) for pair in pairs] for kind, pairs in self.models.items()},
            "left_out": dict(self.left_out),
        }


def attention_sinks(
    subject: Subject,
    length: int = 48,
    rows: int = 8,
    *,
    vocabulary: Sequence[int] | None = None,
    untrained: int = 3,
    unrelated: Unrelated | None = None,
    seed: int = 0,
    progress: bool = False,
) -> AttentionSinks:
    """Measure sinks and massive activations on random tokens, under other first tokens and with activations edited.

    Args:
        subject: the model.
        length: tokens L of a row, at least 8: with fewer, a head that attends evenly seems to sink.
        rows: R, the units of intervals, at least 2.
        vocabulary: token ids to draw from; all but the special tokens by default.
        untrained: how many untrained models to compare with, and lesioned ones of each kind; at least 3.
        unrelated: prompts for the damage of edits; by default those of all language tasks, none without a tokenizer.
        seed: of tokens and of the other dimensions.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: a model without attention patterns, or with several residual streams.
        ValueError: too few tokens, rows or untrained models.

    Example:
        >>> from lazarus_probe.introspection import attention_sinks
        >>> result = attention_sinks(subject, length=16, rows=3)
        >>> list(result.conditions)
        ['as given', 'without the beginning-of-sequence token', 'another first token']
        >>> result.conditions["as given"].by_layer.shape  # (layers,)
        (8,)
    """
    if length < 8 or rows < 2:
        raise ValueError(f"length is {length} and rows {rows}; give at least 8 tokens and 2 rows")
    anatomy = subject.anatomy
    if not any("pattern" in kinds_at(anatomy, layer) for layer in range(anatomy.num_layers)):
        raise UnsupportedArchitecture(
            f"{subject.name} has no attention patterns, so no heads that could sink"
        )
    if anatomy.stream_axis is not None:
        raise UnsupportedArchitecture(
            f"{subject.name} carries several residual streams; one is needed to look for massive activations"
        )
    drawn, begins, left_out = _conditions(subject, length, rows, vocabulary, seed)
    tokens = drawn.pop("as given")
    controls = faced(subject, control_models(subject, count=untrained))
    with bar(2 + sum(map(len, controls.values())), progress, "sinks", "models") as step:
        sizes = magnitudes(subject, tokens)
        conditions = {"as given": first_token_attention(subject, tokens)}
        conditions |= {name: first_token_attention(subject, changed) for name, changed in drawn.items()}
        moved, middle = tokens.copy(), tokens.shape[1] // 2
        moved[:, [0, middle]] = moved[:, [middle, 0]]
        of_moved = first_token_attention(subject, moved, position=middle)
        step(1)
        massive = common_massive(subject, tokens)
        edits: dict[str, MassiveEdit] = {}
        if massive is None:
            left_out["edits"] = "most rows have no massive activation at one token and dimension"
        else:
            edits = massive_edits(subject, tokens, massive, unrelated, seed)
        step(1)
        models: dict[str, list[tuple[float, float]]] = {kind: [] for kind in controls}
        for kind, of_kind in controls.items():
            for model in map(built, of_kind):
                of_model = magnitudes(model, tokens)
                models[kind].append((float(first_token_attention(model, tokens).share.mean), of_model.ratio))
                step(1)
    L = tokens.shape[1]
    return AttentionSinks(
        length,
        rows,
        begins,
        conditions,
        of_moved,
        float((1 / np.arange(2, L + 1)).mean()),
        sizes.largest.mean(axis=1),
        sizes.medians.mean(axis=1),
        sizes.place,
        massive,
        edits,
        {kind: tuple(pairs) for kind, pairs in models.items()},
        left_out,
        seed,
    )


def _conditions(
    subject: Subject, length: int, rows: int, vocabulary: Sequence[int] | None, seed: int
) -> tuple[dict[str, NDArray[np.int32]], bool, dict[str, str]]:
    """Rows by what they begin with, whether the model's own texts begin with a special token, and what is left out."""
    _, halves = random_rows(subject, length + 1, rows, vocabulary, seed)
    others, bare = halves[:, :1], halves[:, 1:]
    begin = begin_token(subject)
    begins = begin is not None and subject.encode("a")[0] == begin
    left_out = {}
    if begin is None:
        left_out["with a beginning-of-sequence token"] = "the tokenizer has none"
        drawn = {"as given": bare}
    else:
        with_begin = np.concatenate([np.full((rows, 1), begin, np.int32), bare], axis=1)
        names = ("as given", "without the beginning-of-sequence token")
        if not begins:
            names = ("with a beginning-of-sequence token", "as given")
        drawn = dict(zip(names, (with_begin, bare), strict=True))
    drawn["another first token"] = np.concatenate([others, drawn["as given"][:, 1:]], axis=1)
    return drawn, begins, left_out


def _ends(estimate: Estimate) -> list[float]:
    return [float(end) for end in estimate]
