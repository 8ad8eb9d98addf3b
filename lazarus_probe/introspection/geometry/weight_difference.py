"""How far apart the weights of two models are, weight by weight.

Quantised weights are compared as the numbers they stand for, and adapters as part of the weights they are added to.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.geometry.weights import Weight, weights_of

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
        base = sum(each.norm_base**2 for each in self.results)
        return float(np.sqrt(sum(each.norm_diff**2 for each in self.results) / base)) if base else 0.0

    def top(self, count: int = 5) -> list[WeightDifference]:
        """The weights that differ most, relative to their size; none that do not differ."""
        changed = [each for each in self.results if each.norm_diff > 0]
        return sorted(changed, key=lambda each: -(each.relative_diff or np.inf))[:count]

    def by_component(self) -> dict[str, float]:
        """The relative difference of all weights of a kind together."""
        found: dict[str, list[WeightDifference]] = {}
        for each in self.results:
            found.setdefault(each.component, []).append(each)
        return {
            name: WeightDifferences(self.base, self.finetuned, tuple(rows)).total
            for name, rows in found.items()
        }

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys, and ours."""
        return {
            "base": self.base,
            "finetuned": self.finetuned,
            "results": [asdict(each) for each in self.results],
            "n": len(self.results),
            "changed": sum(each.norm_diff > 0 for each in self.results),
            "relative_diff": self.total,
            "by_component": self.by_component(),
            "top": [each.name for each in self.top()],
        }

    def _repr_html_(self) -> str:
        rows = [
            (
                "" if each.layer is None else each.layer,
                each.component,
                _shaded(each),
                _short(each.stable_rank),
            )
            for each in self.results
        ]
        return table(
            f"{self.base} → {self.finetuned}", ("Layer", "Component", "Relative", "Stable rank"), rows
        )


def weight_difference(base: Subject, finetuned: Subject) -> WeightDifferences:
    """Compare every weight of two models of one architecture, in float32.

    Raises:
        ValueError: they differ in a setting or in the name or shape of a weight; the message names the first.
    """
    for what, one, two in (
        ("model_type", base.config.get("model_type"), finetuned.config.get("model_type")),
        ("layers", base.num_layers, finetuned.num_layers),
        ("width", base.anatomy.hidden_size, finetuned.anatomy.hidden_size),
    ):
        if one != two:
            raise ValueError(
                f"{base.name} and {finetuned.name} are of different architectures: {what} is {one} in the first "
                f"and {two} in the second"
            )
    first, second = ({weight.name: weight for weight in weights_of(one)} for one in (base, finetuned))
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
            there = base.name if name in first else finetuned.name
            raise ValueError(
                f"{name} is only in {there}; compare models of one architecture ({base.name}, {finetuned.name})"
            )
        if first[name].shape != second[name].shape:
            raise ValueError(
                f"{name} is {first[name].shape} in {base.name} and {second[name].shape} in {finetuned.name}; compare "
                "models of one shape"
            )


def _compared(base: Weight, other: Weight, eps: float) -> WeightDifference:
    one, two = base.numbers().astype(np.float64), other.numbers().astype(np.float64)
    change = two - one
    norms = float(np.linalg.norm(one)), float(np.linalg.norm(two))
    size = float(np.linalg.norm(change))
    stable, rank = _ranks(change, eps, norms[0])
    return WeightDifference(
        layer=base.layer,
        component=base.component,
        relative_diff=size / norms[0] if norms[0] else None if size else 0.0,
        name=base.name,
        shape=base.shape,
        norm_base=norms[0],
        norm_diff=size,
        cosine=_cosine(one, two, norms, size),
        max_diff=float(np.abs(change).max(initial=0.0)),
        stable_rank=stable,
        rank=rank,
    )


def _cosine(
    one: NDArray[np.float64], two: NDArray[np.float64], norms: tuple[float, float], size: float
) -> float | None:
    if size == 0:
        return 1.0
    if not all(norms):
        return None
    return float(np.clip(np.vdot(one, two) / (norms[0] * norms[1]), -1, 1))


def _ranks(change: NDArray[np.float64], eps: float, norm_base: float) -> tuple[float | None, int | None]:
    """Stable rank and rank of a matrix, or of matrices (E, M, N) the mean and the largest."""
    if change.ndim < 2:
        return None, None
    stack = change.reshape(-1, *change.shape[-2:])
    found = [_ranks_of(each, eps, norm_base / np.sqrt(len(stack))) for each in stack if each.any()]
    if not found:
        return 0.0, 0
    ranks = [rank for _, rank in found if rank is not None]
    return float(np.mean([stable for stable, _ in found])), max(ranks, default=None)


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


def _shaded(each: WeightDifference) -> Cell:
    size = each.relative_diff
    return Cell(_short(size), f"cosine {_short(each.cosine)}", min(1.0, size or 0.0))


def _short(number: float | None) -> str:
    return "-" if number is None else f"{number:.4f}"
