"""How similar are directions, compared with chance?

In thousands of dimensions any two vectors are nearly orthogonal: a small cosine alone shows nothing. So each cosine is
compared with that of random vectors of the dimension, whose square is Beta(1/2, (D-1)/2) distributed.

A few dimensions of a trained model's states are large in any prompt, and any two directions that are made of states
are alike for these alone. So a dimension that is an outlier in several of the directions is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold
from lazarus_probe.claims.verdict import Outcome, Verdict, judge
from lazarus_probe.introspection.directions.direction_file import Direction
from lazarus_probe.statistics.centred import OutlierDimension, outlier_dimensions
from lazarus_probe.statistics.cosines import cosine_matrix
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.tables import Cell, Column, Table

LEVEL = 0.95
ORTHOGONAL, ALIKE = "directions-orthogonal", "directions-alike"


@dataclass(frozen=True)
class RandomCosines:
    """The |cosine| of two random vectors.

    Attributes:
        dim: of the vectors.
        expected: mean.
        upper: quantile at `LEVEL`.
    """

    dim: int
    expected: float
    upper: float


@dataclass(frozen=True)
class Pair:
    """Two directions.

    Attributes:
        name_a: of the first.
        name_b: of the second.
        cosine: of the angle between them.
        p: probability of at least that |cosine| of random vectors; not corrected for the number of pairs.
        verdicts: on the claims that the two are orthogonal, and that they are more similar than random vectors.
    """

    name_a: str
    name_b: str
    cosine: float
    p: float
    verdicts: Mapping[str, Verdict]

    @property
    def orthogonal(self) -> bool:
        """Whether the claim `directions-orthogonal` is supported."""
        return self.verdicts[ORTHOGONAL].outcome is Outcome.SUPPORTED

    @property
    def alike(self) -> bool:
        """Whether the claim `directions-alike` is supported."""
        return self.verdicts[ALIKE].outcome is Outcome.SUPPORTED


@dataclass(frozen=True, eq=False)
class Cosines:
    """Directions compared.

    Attributes:
        files: of the directions.
        directions: K of them.
        matrix: (K, K) cosines.
        threshold: largest |cosine| of orthogonal directions: the declared one, or the requested one.
        pairs: of directions.
        null: of random vectors.
        warnings: reasons not to compare them.
        left_out: outlier dimensions that several directions share, with the most that one exceeds its median.
    """

    files: Sequence[Path]
    directions: Sequence[Direction]
    matrix: NDArray[np.float64]
    threshold: float
    pairs: Sequence[Pair]
    null: RandomCosines
    warnings: Sequence[str]
    left_out: Sequence[OutlierDimension] = ()

    @property
    def mean(self) -> float:
        """The mean |cosine| over pairs."""
        return float(np.mean([abs(pair.cosine) for pair in self.pairs]))

    @property
    def beyond_chance(self) -> list[Pair]:
        """Pairs more similar than random vectors, with Bonferroni's correction for the number of pairs."""
        return [pair for pair in self.pairs if pair.alike]

    @property
    def table(self) -> Table:
        """Directions by directions, with their cosines."""
        names = [direction.name for direction in self.directions]
        rows = [
            [name, *(Cell(value, shade=float(value)) for value in row)]
            for name, row in zip(names, self.matrix, strict=True)
        ]
        columns = [Column(""), *(Column(name, "+.3f") for name in names)]
        return Table(columns, rows, f"cosines; random: |cosine| {self.null.expected:.3f}")

    def as_data(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "files": [str(path) for path in self.files],
            "names": [direction.name for direction in self.directions],
            "pairs": [
                {
                    "name_a": pair.name_a,
                    "name_b": pair.name_b,
                    "cosine_similarity": pair.cosine,
                    "orthogonal": pair.orthogonal,
                    "p_random": pair.p,
                    "verdicts": {claim: str(verdict) for claim, verdict in pair.verdicts.items()},
                }
                for pair in self.pairs
            ],
            "mean_abs_similarity": self.mean,
            "metadata": [
                {
                    "file": str(path),
                    "name": direction.name,
                    "layer": direction.layer,
                    "dim": len(direction.vector),
                    "accuracy": direction.accuracy,
                    "model_id": direction.model_id,
                }
                for path, direction in zip(self.files, self.directions, strict=True)
            ],
            "threshold": self.threshold,
            "matrix": self.matrix.tolist(),
            "null": {
                "dim": self.null.dim,
                "expected_abs_cosine": self.null.expected,
                "upper_95": self.null.upper,
            },
            "beyond_chance": [[pair.name_a, pair.name_b] for pair in self.beyond_chance],
            "warnings": list(self.warnings),
            "outlier_dimensions": [
                {"dimension": outlier.dimension, "ratio": outlier.ratio} for outlier in self.left_out
            ],
        }

    def _repr_html_(self) -> str:
        return self.table.html()


def random_cosines(dim: int) -> RandomCosines:
    """The |cosine| of two vectors drawn uniformly from the sphere in `dim` dimensions."""
    from scipy.special import betaincinv

    if dim == 1:
        return RandomCosines(1, 1.0, 1.0)
    expected = math.exp(math.lgamma(dim / 2) - math.lgamma((dim + 1) / 2)) / math.sqrt(math.pi)
    return RandomCosines(dim, expected, math.sqrt(float(betaincinv(0.5, (dim - 1) / 2, LEVEL))))


def random_p(cosine: float, dim: int) -> float:
    """The probability of at least that |cosine| of two random vectors."""
    from scipy.special import betaincc

    return 1.0 if dim == 1 else float(betaincc(0.5, (dim - 1) / 2, min(cosine * cosine, 1.0)))


def direction_cosines(
    directions: Sequence[Direction],
    files: Sequence[Path] | None = None,
    threshold: float | None = None,
    *,
    keep_outliers: bool = False,
) -> Cosines:
    """Compare all pairs of directions.

    Args:
        directions: two or more, of one dimension.
        files: of the directions; by default their names.
        threshold: largest |cosine| of orthogonal directions, in place of the declared one.
        keep_outliers: compare all dimensions.

    Raises:
        ValueError: fewer than two, different dimensions, or a threshold outside (0, 1].
    """
    files = [Path(direction.name) for direction in directions] if files is None else files
    if len(directions) < 2:
        raise ValueError(f"{len(directions)} direction given; give at least two to compare")
    if threshold is not None and not 0 < threshold <= 1:
        raise ValueError(f"threshold is {threshold:g}; give a |cosine| above 0 and at most 1")
    dims = [len(direction.vector) for direction in directions]
    for path, dim in zip(files, dims, strict=True):
        if dim != dims[0]:
            raise ValueError(
                f"{files[0]} has dimension {dims[0]} and {path} has {dim}; compare directions of one width"
            )
    vectors = np.stack([direction.vector for direction in directions])
    left_out = () if keep_outliers else shared_outliers(vectors)
    rest = np.delete(vectors, [outlier.dimension for outlier in left_out], axis=1)
    matrix = cosine_matrix(rest)
    null, indices = random_cosines(rest.shape[1]), list(combinations(range(len(directions)), 2))
    orthogonal = declared(ORTHOGONAL) if threshold is None else at_threshold(ORTHOGONAL, threshold)
    pairs = [
        _pair(directions[i].name, directions[j].name, float(matrix[i, j]), null, len(indices), orthogonal)
        for i, j in indices
    ]
    warnings = _warnings(directions, files)
    return Cosines(files, directions, matrix, orthogonal.threshold, pairs, null, warnings, left_out)


def shared_outliers(vectors: NDArray[Any]) -> tuple[OutlierDimension, ...]:
    """The dimensions that are outliers in at least two of some vectors (K, D), the largest first.

    What is an outlier in one alone, as in a direction along one neuron, makes no two directions alike.
    """
    ratios: dict[int, list[float]] = {}
    for vector in vectors:
        for outlier in outlier_dimensions(vector[None]):
            ratios.setdefault(outlier.dimension, []).append(outlier.ratio)
    shared = [OutlierDimension(dimension, max(of)) for dimension, of in ratios.items() if len(of) > 1]
    return tuple(sorted(shared, key=lambda outlier: -outlier.ratio))


def _pair(first: str, second: str, cosine: float, null: RandomCosines, pairs: int, orthogonal: Claim) -> Pair:
    """Two directions with their verdicts; p is corrected for the number of pairs (Bonferroni)."""
    size, p = abs(cosine), random_p(cosine, null.dim)
    itself = Control("itself", 1.0, 1 - size, 1 - size, 1 - size)
    # The |cosine| of 95% of random vectors is from 0 to `upper`.
    chance = Control("random_vectors", null.expected, size - null.expected, size - null.upper, size)
    signed = Measurement(cosine, cosine, cosine, 2, 2, "cosine", (itself,), floor=-1.0)
    parallel = Measurement(size, size, size, 2, 2, "|cosine|", (chance,), p=min(1.0, p * pairs))
    return Pair(
        first,
        second,
        cosine,
        p,
        {ORTHOGONAL: judge(orthogonal, signed), ALIKE: judge(declared(ALIKE), parallel)},
    )


def _warnings(directions: Sequence[Direction], files: Sequence[Path]) -> list[str]:
    """Warn of different models or layers, naming the first two files that differ."""
    warnings = []
    for name, attribute, reason in (
        ("model", "model_id", "their coordinates need not mean the same"),
        ("layer", "layer", "cosines across layers compare different stages of the stream"),
    ):
        values = [
            (path, getattr(direction, attribute)) for path, direction in zip(files, directions, strict=True)
        ]
        values = [(path, value) for path, value in values if value != ""]
        for path, value in values:
            if value != values[0][1]:
                first = f"{values[0][0]} is of {name} {values[0][1]}"
                warnings.append(f"{first} and {path} of {name} {value}: {reason}")
                break
    return warnings
