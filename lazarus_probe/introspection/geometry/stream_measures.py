"""Sinks, massive activations, growth and anisotropy as measurements: one number each, held against its controls.

`attention_sinks` and `residual_stream` show them to a reader, layer by layer. Here every row of random tokens is an
independent unit, control models run on the same rows, and edits are compared with edits of other dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.claims.as_needed import as_needed
from lazarus_probe.hooks.outliers import MAGNITUDE, TIMES_MEDIAN
from lazarus_probe.introspection.geometry.residual_stream import cosines_of
from lazarus_probe.introspection.geometry.sink_runs import (
    MassiveDimensions,
    first_token_attention,
    massive_damage,
    massive_interventions,
    residual_streams,
)
from lazarus_probe.statistics.centred import outlier_dimensions
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import ControlModel, ControlModels, built, faced

if TYPE_CHECKING:
    from lazarus_probe.claims.claim import Claim
    from lazarus_probe.subject.subject import Subject

DROPPED = 4  # first tokens of a row, where sinks are, that norms and cosines leave out
Rows = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class StreamRows:
    """What one model does on R rows of random tokens, each (R,).

    Attributes:
        sinking: share of heads that give the first token more than .3 of their attention.
        massive: whether some activation is massive (Sun et al. 2024: above 100 and 1,000 times the median).
        growing: share of blocks after which the median norm is larger than before.
        cosine: mean cosine with the states of other rows after the last block.
        cosine_left: the same about their mean, without outlier dimensions.
        ratio: the largest activation over the median, after the block where that is largest.
    """

    sinking: Rows
    massive: Rows
    growing: Rows
    cosine: Rows
    cosine_left: Rows
    ratio: Rows


@dataclass(frozen=True, eq=False)
class StreamRuns:
    """The rows of a model, and of control models where a claim needs them.

    Attributes:
        tokens: (R, L) of random tokens.
        own: of the model.
        moved: (R,) of the model, the share of heads that sink into the first token in the middle of the row.
        others: by kind of control model, what runs them.
    """

    tokens: NDArray[np.int32]
    own: StreamRows
    moved: Rows
    others: Mapping[str, Callable[[], Sequence[StreamRows]]]


def stream_runs(
    subject: Subject, untrained: ControlModels, tokens: NDArray[np.int32], seed: int = 0
) -> StreamRuns:
    """Run a model on rows of random tokens; control models are run on them where a claim needs them.

    Raises:
        UnsupportedArchitecture: a model without attention patterns, of one block, or with several residual streams.
        ValueError: as `checked_models`.
    """
    if subject.num_layers < 2:
        raise UnsupportedArchitecture(f"{subject.name} has one block; at least two are needed for growth")

    def of(models: Sequence[ControlModel | Subject]) -> Callable[[], Sequence[StreamRows]]:
        return cache(lambda: [stream_rows(built(model), tokens, seed) for model in models])

    others = {kind: of(models) for kind, models in faced(subject, untrained).items()}
    return StreamRuns(tokens, stream_rows(subject, tokens, seed), moved_first_token(subject, tokens), others)


def stream_rows(subject: Subject, tokens: NDArray[np.int32], seed: int = 0) -> StreamRows:
    """What one model does on rows (R, L) of random tokens, in two passes: for patterns, and for the stream."""
    rows, length = tokens.shape
    at = np.random.default_rng(seed).integers(DROPPED, length, size=(rows,))
    largest, medians, norms = (np.empty((subject.num_layers, rows)) for _ in range(3))
    states = np.empty((rows, subject.anatomy.hidden_size))
    for row, stream in enumerate(residual_streams(subject, tokens)):
        for layer, values in enumerate(stream):
            sizes = np.abs(values)
            largest[layer, row], medians[layer, row] = sizes.max(), np.median(sizes)
            norms[layer, row] = np.median(np.linalg.norm(values[DROPPED:].astype(np.float64), axis=1))
        states[row] = stream[-1][at[row]]
    massive = (largest > MAGNITUDE) & (largest >= TIMES_MEDIAN * medians)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.nanmax(largest / medians, axis=0)
    cosines = cosines_of(states, outlier_dimensions(states))
    return StreamRows(
        first_token_attention(subject, tokens).shares,
        np.asarray(massive.any(axis=0), dtype=np.float64),
        np.asarray((norms[1:] > norms[:-1]).mean(axis=0), dtype=np.float64).reshape(rows),
        cosines["raw"],
        cosines["centred, without outliers"],
        np.asarray(ratio),
    )


def moved_first_token(subject: Subject, tokens: NDArray[np.int32]) -> Rows:
    """(R,) the share of heads that sink into the first token where it stands in the middle of its row."""
    middle = tokens.shape[1] // 2
    moved = tokens.copy()
    moved[:, [0, middle]] = moved[:, [middle, 0]]
    return first_token_attention(subject, moved, position=middle).shares


def sinking_heads(runs: StreamRuns, *, seed: int = 0, claim: Claim | None = None) -> Measurement:
    """The share of heads that sink into the first token; `moved_token` is that of its text in the middle."""
    return _measured("share of heads that sink", runs, "sinking", {"moved_token": runs.moved}, seed, claim)


def massive_rows(runs: StreamRuns, *, seed: int = 0, claim: Claim | None = None) -> Measurement:
    """The share of rows with a massive activation."""
    ratio = {"median_ratio": float(np.median(runs.own.ratio))}
    return _measured("share of rows with one", runs, "massive", {}, seed, claim, details=ratio)


def growing_norms(runs: StreamRuns, *, seed: int = 0, claim: Claim | None = None) -> Measurement:
    """The share of blocks that make the median norm of the residual stream larger."""
    return _measured("share of blocks that lengthen", runs, "growing", {}, seed, claim)


def anisotropy(runs: StreamRuns, *, seed: int = 0, claim: Claim | None = None) -> Measurement:
    """The cosine of unrelated states after the last block; `centred_without_outliers` is what is left beyond both."""
    left = {"centred_without_outliers": runs.own.cosine_left}
    return _measured("cosine of unrelated states", runs, "cosine", left, seed, claim, bound=2.0)


def _measured(
    unit: str,
    runs: StreamRuns,
    name: str,
    controls: Mapping[str, Rows],
    seed: int,
    claim: Claim | None,
    **kept: Any,
) -> Measurement:
    score = getattr(runs.own, name)

    def measure(reached: Mapping[str, Any], left_out: tuple[str, ...]) -> Measurement:
        units = [str(row) for row in range(len(score))]
        return rate(unit, score, units, reached, seed=seed, unmeasured=left_out, **kept)

    def rows_of(models: Callable[[], Sequence[StreamRows]]) -> Callable[[], NDArray[Any]]:
        return lambda: np.stack([getattr(model, name) for model in models()])

    return as_needed(
        claim, measure, {kind: rows_of(models) for kind, models in runs.others.items()}, controls
    )


def sinks_lost(
    subject: Subject, runs: StreamRuns, massive: MassiveDimensions, *, seed: int = 0
) -> Measurement:
    """The share of sinking heads that no longer do with the massive activations of the first token set to zero.

    Controls: `set_to_mean`, `others_zero`, as many other dimensions set to zero, and `others_pushed`, the other
    dimensions moved as far in a random direction. The damage is that of the zeros, to unrelated prompts; without a
    tokenizer there is none.

    Raises:
        ValueError: a row without sinking heads.
    """
    plain = runs.own.sinking
    if not plain.all():
        raise ValueError(
            f"{(plain == 0).sum()} of {len(plain)} rows have no sinking head, so none can be lost"
        )
    lost = {
        name: np.clip(1 - first_token_attention(subject, runs.tokens, edits=[edit]).shares / plain, 0, 1)
        for name, edit in massive_interventions(subject, massive, seed).items()
    }
    score = lost.pop("set to zero")
    names = {
        "set to their mean": "set_to_mean",
        "as many others set to zero": "others_zero",
        "others pushed as far": "others_pushed",
    }
    return rate(
        "share of sinks lost",
        score,
        [str(row) for row in range(len(score))],
        {names[name]: values for name, values in lost.items()},
        seed=seed,
        damage=massive_damage(subject, massive, seed),
        details={
            "layer": massive.layer,
            "position": massive.position,
            "dimensions": list(massive.dimensions),
        },
    )
