"""How far apart the weights of two models are, weight by weight.

Quantised weights are dequantised, and adapters are merged into their weights.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.geometry.weights import Weight, weights_of
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LARGE = 0.1
# Singular values are computed up to this many; beyond, only the largest is, by power iteration.
SVD_SIZE = 1024
STEPS = 100


@dataclass(frozen=True)
class WeightDifference:
    """How one weight differs.

    Attributes:
        layer: the block; None outside of the blocks.
        component: what it is.
        relative_diff: norm of the difference over that of the base (Frobenius); None where the base is all zero.
        name: its path.
        shape: of it.
        norm_base: of the base.
        norm_diff: of the difference.
        cosine: of both as vectors; None where one is all zero.
        max_diff: the largest absolute difference.
        stable_rank: squared Frobenius over squared spectral norm of the difference, a rank that noise does not
            raise (Rudelson & Vershynin 2007); the mean over experts; None of vectors.
        rank: of the difference, up to rounding; None of vectors and of what is too large.
    """

    layer: int | None
    component: str
    relative_diff: float | None
    name: str
    shape: tuple[int, ...]
    norm_base: float
    norm_diff: float
    cosine: float | None
    max_diff: float
    stable_rank: float | None
    rank: int | None

    @property
    def large(self) -> bool:
        """Whether it is marked in tables."""
        return self.norm_diff > 0 and (self.relative_diff is None or self.relative_diff > LARGE)


@dataclass(frozen=True)
class WeightDifferences:
    """How all weights of two models differ, the embedding first, then block by block."""

    base: str
    finetuned: str
    results: tuple[WeightDifference, ...]

    @property
    def total(self) -> float:
        """The relative difference of all weights as one vector."""
        base = sum(weight.norm_base**2 for weight in self.results)
        return float(np.sqrt(sum(weight.norm_diff**2 for weight in self.results) / base)) if base else 0.0

    @property
    def changed(self) -> int:
        """How many weights differ."""
        return sum(weight.norm_diff > 0 for weight in self.results)

    def top(self, count: int = 5) -> list[WeightDifference]:
        """The weights that differ most, relative to their size; none that do not differ."""
        changed = [weight for weight in self.results if weight.norm_diff > 0]
        return sorted(changed, key=lambda weight: -(weight.relative_diff or np.inf))[:count]

    def by_component(self) -> dict[str, float]:
        """The relative difference of all weights of a kind together."""
        by_component: dict[str, list[WeightDifference]] = {}
        for weight in self.results:
            by_component.setdefault(weight.component, []).append(weight)
        return {
            name: WeightDifferences(self.base, self.finetuned, tuple(weights)).total
            for name, weights in by_component.items()
        }

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys, and ours."""
        return {
            "base": self.base,
            "finetuned": self.finetuned,
            "results": [asdict(weight) for weight in self.results],
            "n": len(self.results),
            "changed": self.changed,
            "relative_diff": self.total,
            "by_component": self.by_component(),
            "top": [weight.name for weight in self.top()],
        }

    @property
    def table(self) -> Table:
        """One row per weight; relative differences above 0.1 are marked ***."""
        columns = (
            Column("Layer", width=6),
            Column("Component", width=26),
            Column("Rel diff", ".4f", width=10),
            Column("", width=4),
            Column("Cosine", ".4f", width=9),
            Column("Max diff", ".2e", width=10),
            Column("Stable rank", ".1f", width=12),
            "Rank",
        )
        rows = [
            (
                weight.layer,
                weight.component,
                Cell(weight.relative_diff, shade=weight.relative_diff or 0.0),
                "***" if weight.large else "",
                weight.cosine,
                weight.max_diff,
                weight.stable_rank,
                weight.rank,
            )
            for weight in self.results
        ]
        return Table(columns, rows, f"{self.base} → {self.finetuned}")

    def _repr_html_(self) -> str:
        return self.table.html()


def weight_difference(base: Subject, finetuned: Subject) -> WeightDifferences:
    """Compare every weight of two models of one architecture, in float32.

    Raises:
        ValueError: they differ in a setting or in the name or shape of a weight; the message names the first.
    """
    for name, first_value, second_value in (
        ("model_type", base.config.get("model_type"), finetuned.config.get("model_type")),
        ("layers", base.num_layers, finetuned.num_layers),
        ("width", base.anatomy.hidden_size, finetuned.anatomy.hidden_size),
    ):
        if first_value != second_value:
            raise ValueError(
                f"{base.name} and {finetuned.name} are of different architectures: {name} is {first_value} in the "
                f"first and {second_value} in the second"
            )
    first, second = ({weight.name: weight for weight in weights_of(subject)} for subject in (base, finetuned))
    _check_same(base, finetuned, first, second)
    eps = max(float(mx.finfo(getattr(mx, dtype)).eps) for dtype in (base.dtype, finetuned.dtype))
    return WeightDifferences(
        base.name,
        finetuned.name,
        tuple(_compared(weight, second[name], eps) for name, weight in first.items()),
    )


def _check_same(
    base: Subject, finetuned: Subject, first: dict[str, Weight], second: dict[str, Weight]
) -> None:
    for name in [*first, *second]:
        if name not in first or name not in second:
            owner = base.name if name in first else finetuned.name
            raise ValueError(
                f"{name} is only in {owner}; compare models of one architecture ({base.name}, {finetuned.name})"
            )
        if first[name].shape != second[name].shape:
            raise ValueError(
                f"{name} is {first[name].shape} in {base.name} and {second[name].shape} in {finetuned.name}; compare "
                "models of one shape"
            )


def _compared(base: Weight, other: Weight, eps: float) -> WeightDifference:
    before, after = base.numbers().astype(np.float64), other.numbers().astype(np.float64)
    change = after - before
    norm_base, norm_other = float(np.linalg.norm(before)), float(np.linalg.norm(after))
    norm_diff = float(np.linalg.norm(change))
    cosine = 1.0 if norm_diff == 0 else None
    if norm_diff and norm_base and norm_other:
        cosine = float(np.clip(np.vdot(before, after) / (norm_base * norm_other), -1, 1))
    stable, rank = _ranks(change, eps, norm_base)
    return WeightDifference(
        layer=base.layer,
        component=base.component,
        relative_diff=norm_diff / norm_base if norm_base else None if norm_diff else 0.0,
        name=base.name,
        shape=base.shape,
        norm_base=norm_base,
        norm_diff=norm_diff,
        cosine=cosine,
        max_diff=float(np.abs(change).max(initial=0.0)),
        stable_rank=stable,
        rank=rank,
    )


def _ranks(change: NDArray[np.float64], eps: float, norm_base: float) -> tuple[float | None, int | None]:
    """Stable rank and rank of a matrix, or of matrices (E, M, N) the mean and the largest."""
    if change.ndim < 2:
        return None, None
    stack = change.reshape(-1, *change.shape[-2:])
    pairs = [_ranks_of(matrix, eps, norm_base / np.sqrt(len(stack))) for matrix in stack if matrix.any()]
    if not pairs:
        return 0.0, 0
    ranks = [rank for _, rank in pairs if rank is not None]
    return float(np.mean([stable for stable, _ in pairs])), max(ranks, default=None)


def _ranks_of(change: NDArray[np.float64], eps: float, norm_base: float) -> tuple[float, int | None]:
    squared = float((change**2).sum())
    if min(change.shape) > SVD_SIZE:
        return squared / _spectral(change) ** 2, None
    values = np.linalg.svd(change, compute_uv=False)
    # Numbers are rounded relative to the weight they are in, not to how far it moved.
    rounding = eps * max(float(values[0]), norm_base)
    return squared / float(values[0]) ** 2, int((values > rounding).sum())


def _spectral(change: NDArray[np.float64]) -> float:
    """The largest singular value, by power iteration."""
    vector = np.asarray(np.random.default_rng(0).normal(size=change.shape[1]))
    sizes = [0.0]
    for _ in range(STEPS):
        image = change @ (vector / np.linalg.norm(vector))
        sizes.append(float(np.linalg.norm(image)))
        vector = image @ change
        if abs(sizes[-1] - sizes[-2]) <= 1e-6 * sizes[-1]:
            break
    return sizes[-1]
