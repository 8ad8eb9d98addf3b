"""How long the states of random tokens get from layer to layer, and how much all of them point one way.

Norms grow by a factor a layer (Heimersheim & Turner 2023, "Residual stream norms grow exponentially over the forward
pass"). Any two states of a trained model have a high cosine (Ethayarajh 2019, arXiv:1909.00512), for a common mean (Mu
& Viswanath 2018, arXiv:1702.01417) and a few outlier dimensions (Timkey & van Schijndel 2021, arXiv:2109.04404). So
norms are given with and without the first tokens, and cosines raw, centred, and without outlier dimensions.
"""

# ruff: noqa: N806 - R, L and D are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.statistics.centred import OutlierDimension, centred_cosines, outlier_dimensions
from lazarus_probe.statistics.cosines import cosine_matrix
from lazarus_probe.statistics.student import Estimate, mean_t_interval
from lazarus_probe.subject.control_models import built, control_models, faced
from lazarus_probe.subject.random_tokens import random_rows
from lazarus_probe.sweep.progress import bar
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

FEWEST_ROWS = 4  # a pair is centred on at least two others
KINDS = ("raw", "centred", "without outliers", "centred, without outliers")


@dataclass(frozen=True, eq=False)
class ResidualStream:
    """Norms and cosines of the residual stream on R rows of random tokens.

    Attributes:
        tokens: L of a row.
        rows: R.
        dropped: first tokens of every row that `norms` and cosines leave out.
        norms: (layers, R) the median norm over the other tokens after each block.
        first: (layers, R) the median norm of the dropped tokens; NaN where none are.
        means: (layers, R) the mean norm over all tokens, dropped ones included.
        cosines: by kind (layers, R), the mean cosine of one state a row with those of all other rows: "raw", "centred"
            on the other rows, "without outliers" (raw, without outlier dimensions), and both.
        left_out: by layer, the outlier dimensions.
        models: by kind of control model, each one's growth a layer and its raw cosine after the last block.
        seed: of the tokens.
    """

    tokens: int
    rows: int
    dropped: int
    norms: NDArray[np.float64]
    first: NDArray[np.float64]
    means: NDArray[np.float64]
    cosines: Mapping[str, NDArray[np.float64]]
    left_out: Mapping[int, tuple[OutlierDimension, ...]]
    models: Mapping[str, tuple[tuple[float, float], ...]]
    seed: int

    @property
    def growth(self) -> Estimate:
        """The factor a layer, from after the first block to after the last: a geometric mean, with its interval."""
        return _factor(self.norms)

    @property
    def growth_of_means(self) -> Estimate:
        """The same of mean norms over all tokens, which a few long states decide."""
        return _factor(self.means)

    @property
    def ratios(self) -> NDArray[np.float64]:
        """(layers - 1,) the factor from each block to the next, of the median norm over rows."""
        medians = np.median(self.norms, axis=1)
        return np.asarray(medians[1:] / medians[:-1])

    def cosine(self, kind: str) -> Estimate:
        """(layers,) mean cosines of a kind, with intervals over rows."""
        return mean_t_interval(self.cosines[kind].T)

    def as_data(self) -> dict[str, Any]:
        """Everything, as plain data."""
        return {
            "tokens": self.tokens,
            "rows": self.rows,
            "dropped": self.dropped,
            "seed": self.seed,
            "growth": [float(end) for end in self.growth],
            "growth_of_means": [float(end) for end in self.growth_of_means],
            "median_ratio": float(np.median(self.ratios)),
            "layers": [
                {
                    "norm": float(self.norms[layer].mean()),
                    "first": float(self.first[layer].mean()),
                    "mean": float(self.means[layer].mean()),
                    "cosines": {kind: [float(end[layer]) for end in self.cosine(kind)] for kind in KINDS},
                    "outliers": [[outlier.dimension, outlier.ratio] for outlier in self.left_out[layer]],
                }
                for layer in range(len(self.norms))
            ],
            "models": {kind: [list(pair) for pair in pairs] for kind, pairs in self.models.items()},
        }

    def table(self) -> Table:
        """By layer norms and cosines."""
        cosines = {kind: self.cosine(kind).mean for kind in KINDS}
        rows = [
            (
                f"L{layer}",
                float(self.norms[layer].mean()),
                float(self.first[layer].mean()),
                *(float(cosines[kind][layer]) for kind in KINDS),
                ", ".join(str(outlier.dimension) for outlier in self.left_out[layer]),
            )
            for layer in range(len(self.norms))
        ]
        columns: tuple[Column | str, ...] = (
            Column("Layer", width=6),
            Column("Norm", ".1f", right=True),
            Column("First tokens", ".1f", right=True),
            *(Column(f"{kind[:1].upper()}{kind[1:]}", "+.3f", right=True) for kind in KINDS),
            "Outlier dimensions",
        )
        return Table(columns, rows, "residual stream: median norms, and cosines of random tokens")

    def _repr_html_(self) -> str:
        return self.table().html()


def residual_stream(
    subject: Subject,
    length: int = 48,
    rows: int = 16,
    *,
    drop: int = 4,
    vocabulary: Sequence[int] | None = None,
    untrained: int = 3,
    seed: int = 0,
    progress: bool = False,
) -> ResidualStream:
    """Measure how norms grow by layer, and how alike the states of unrelated tokens are.

    Args:
        subject: the model, of at least two blocks.
        length: tokens L of a row.
        rows: R, the units of intervals, at least 4.
        drop: first tokens of every row to leave out, the beginning-of-sequence token included: sinks are there.
        vocabulary: token ids to draw from; all but the special tokens by default.
        untrained: how many untrained models to compare with, and lesioned ones of each kind; at least 3.
        seed: of the tokens.
        progress: show a bar, where standard error is a terminal.

    Raises:
        UnsupportedArchitecture: a model of one block, whose norm cannot grow, or with several residual streams.
        ValueError: too few rows or untrained models, or no tokens left.

    Example:
        >>> from lazarus_probe.introspection import residual_stream
        >>> result = residual_stream(subject, length=12, rows=5)
        >>> result.norms.shape  # (layers, rows)
        (8, 5)
        >>> bool((np.abs(result.cosine("centred").mean) < 1).all())
        True
    """
    if rows < FEWEST_ROWS:
        raise ValueError(
            f"rows is {rows}; give at least {FEWEST_ROWS}, so that a pair is centred on two others"
        )
    if not 0 <= drop < length:
        raise ValueError(f"drop is {drop} of {length} tokens; leave at least one")
    if subject.num_layers < 2:
        raise UnsupportedArchitecture(f"{subject.name} has one block; growth from block to block needs two")
    if subject.anatomy.stream_axis is not None:
        raise UnsupportedArchitecture(f"{subject.name} carries several residual streams; one is needed")
    before, halves = random_rows(subject, length, rows, vocabulary, seed)
    tokens = np.concatenate([np.tile(before, (rows, 1)), halves], axis=1)
    controls = faced(subject, control_models(subject, count=untrained))
    with bar(1 + sum(map(len, controls.values())), progress, "residual stream", "models") as step:
        norms, states = _measured(subject, tokens, drop, seed)
        step(1)
        models: dict[str, list[tuple[float, float]]] = {kind: [] for kind in controls}
        for kind, of_kind in controls.items():
            for model in map(built, of_kind):
                others, last = _measured(model, tokens, drop, seed)
                raw = float(_mean_cosines(cosine_matrix(last[-1])).mean())
                models[kind].append((float(_factor(np.median(others[:, :, drop:], axis=2)).mean), raw))
                step(1)
    left_out = {layer: outlier_dimensions(of_layer) for layer, of_layer in enumerate(states)}
    by_layer = [cosines_of(of_layer, left_out[layer]) for layer, of_layer in enumerate(states)]
    none = np.full(norms.shape[:2], np.nan)
    return ResidualStream(
        tokens.shape[1],
        rows,
        drop,
        np.median(norms[:, :, drop:], axis=2),
        np.median(norms[:, :, :drop], axis=2) if drop else none,
        norms.mean(axis=2),
        {kind: np.stack([of_layer[kind] for of_layer in by_layer]) for kind in KINDS},
        left_out,
        {kind: tuple(pairs) for kind, pairs in models.items()},
        seed,
    )


def cosines_of(states: NDArray[Any], left_out: Sequence[OutlierDimension]) -> dict[str, NDArray[np.float64]]:
    """By kind (R,) the mean cosine of each state (R, D) with the others, with and without some dimensions."""
    rest = np.delete(states, [outlier.dimension for outlier in left_out], axis=1)
    matrices = (cosine_matrix(states), centred_cosines(states), cosine_matrix(rest), centred_cosines(rest))
    return {kind: _mean_cosines(matrix) for kind, matrix in zip(KINDS, matrices, strict=True)}


def _measured(
    subject: Subject, tokens: NDArray[np.int32], drop: int, seed: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Norms (layers, R, L), and the states (layers, R, D) of one token of every row, drawn from those that are kept."""
    sites = [Site("resid_post", layer) for layer in range(subject.num_layers)]
    R, L = tokens.shape
    at = np.random.default_rng((seed, drop)).integers(drop, L, size=(R,))
    norms = np.empty((len(sites), R, L))
    states = np.empty((len(sites), R, subject.anatomy.hidden_size))
    for row in range(R):
        run = trace(subject, tokens[row : row + 1], sites)
        for layer, site in enumerate(sites):
            values = np.array(run[site][0].astype(mx.float32), dtype=np.float64)
            norms[layer, row] = np.linalg.norm(values, axis=1)
            states[layer, row] = values[at[row]]
    return norms, states


def _factor(norms: NDArray[Any]) -> Estimate:
    """The geometric mean factor a layer of norms (layers, R), with its interval over rows, made of logarithms."""
    logs = np.log(norms[-1] / norms[0]) / (len(norms) - 1)
    return Estimate(*(np.exp(end) for end in mean_t_interval(logs)))


def _mean_cosines(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """(R,) the mean of each row of cosines (R, R) but the one with itself."""
    return np.asarray((matrix.sum(axis=1) - 1) / (len(matrix) - 1))
