"""Erasing a concept from states, so that no linear probe reads it: LEACE, in closed form.

Belrose et al. 2023 (arXiv:2306.03819). Of all affine maps after which the classes have the same mean, and so no linear
classifier does better than a constant, it is the one that moves the states least, whatever the norm: x is whitened, the
directions in which it covaries with the concept are projected out, and x is coloured again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.statistics.folds import encode

Floats = NDArray[np.float64]
# Directions of less than this share of the largest variance, or covariance, are rounding.
NEGLIGIBLE = 1e-10


class NothingToEraseError(ValueError):
    """States that do not differ, or whose classes have the same mean."""


@dataclass(frozen=True, eq=False)
class Eraser:
    """The map x - (x - mean) @ reads @ writes.

    Attributes:
        mean: (D,) of the states that it was fitted on; it stays where it is.
        reads: (D, K) what is read of a state, K the rank.
        writes: (K, D) what is taken away for each.
    """

    mean: Floats
    reads: Floats
    writes: Floats

    @property
    def rank(self) -> int:
        """How many directions are erased: one less than there are classes, at most."""
        return len(self.writes)

    def __call__(self, states: NDArray[Any]) -> Floats:
        """States (..., D) without the concept."""
        rows = np.asarray(states, dtype=np.float64)
        return np.asarray(rows - (rows - self.mean) @ self.reads @ self.writes)


@dataclass(frozen=True, eq=False)
class Whitening:
    """States in units of their own spread, in the directions in which they vary.

    Attributes:
        mean: (D,).
        whiten: (D, R) to coordinates of variance 1.
        colour: (R, D) and back.
    """

    mean: Floats
    whiten: Floats
    colour: Floats

    def eraser(self, directions: Floats) -> Eraser:
        """The eraser of K orthonormal directions (R, K) of the whitened states."""
        return Eraser(self.mean, self.whiten @ directions, directions.T @ self.colour)


def whitening(states: NDArray[Any], shrinkage: float | None = None) -> Whitening:
    """The whitening of states (N, D).

    Args:
        states: finite numbers, at least two rows.
        shrinkage: from 0 for the sample's covariance to 1 for a multiple of the identity. By default that of Ledoit &
            Wolf 2004: with about as many rows as dimensions the sample's own has directions of next to no spread, and
            erasing along them moves other states at random.

    Raises:
        ValueError: another shape, numbers that are not finite, or a shrinkage out of range.
        NothingToEraseError: all states are the same.
    """
    rows = np.asarray(states, dtype=np.float64)
    if rows.ndim != 2 or len(rows) < 2:
        raise ValueError(f"states are {rows.shape}; give (N, D) with at least two rows")
    if not np.isfinite(rows).all():
        raise ValueError(f"states are not finite in row {int(np.argmin(np.isfinite(rows).all(axis=1)))}")
    if shrinkage is not None and not 0 <= shrinkage <= 1:
        raise ValueError(f"shrinkage is {shrinkage}; give a share from 0 to 1")
    mean = rows.mean(axis=0)
    centred = rows - mean
    covariance = centred.T @ centred / len(rows)
    if not np.trace(covariance) > 0:
        raise NothingToEraseError("all states are the same; there is nothing to erase")
    if shrinkage is None:
        from sklearn.covariance import ledoit_wolf_shrinkage

        shrinkage = float(ledoit_wolf_shrinkage(centred, assume_centered=True))
    level = np.trace(covariance) / len(covariance)
    shrunk = (1 - shrinkage) * covariance + shrinkage * level * np.eye(len(covariance))
    variances, axes = np.linalg.eigh(shrunk)
    kept = variances > NEGLIGIBLE * variances[-1]
    spread, axes = np.sqrt(variances[kept]), axes[:, kept]
    return Whitening(mean, axes / spread, (axes * spread).T)


def fit_eraser(states: NDArray[Any], labels: NDArray[Any], whitened: Whitening) -> Eraser:
    """The eraser of a concept.

    Args:
        states: (N, D) those that were whitened.
        labels: (N,) the class of each.
        whitened: of the states.

    Raises:
        ValueError: lengths that differ, or one class alone.
        NothingToEraseError: class means that are the same.
    """
    rows = np.asarray(states, dtype=np.float64)
    classes, codes = encode(labels)
    if len(codes) != len(rows):
        raise ValueError(f"{len(codes)} labels for {len(rows)} states; give one a state")
    if len(classes) < 2:
        raise ValueError(f"all labels are {classes[0]!s}; a concept has at least two classes")
    indicators = np.eye(len(classes))[codes]
    centred = (rows - whitened.mean) @ whitened.whiten
    covariance = centred.T @ (indicators - indicators.mean(axis=0)) / len(rows)
    directions, sizes, _ = np.linalg.svd(covariance, full_matrices=False)
    kept = directions[:, : len(classes) - 1][
        :, sizes[: len(classes) - 1] > NEGLIGIBLE * max(sizes[0], 1e-300)
    ]
    if not sizes[0] > NEGLIGIBLE:
        raise NothingToEraseError("the classes have the same mean state; there is nothing to erase")
    return whitened.eraser(kept)


def random_erasers(whitened: Whitening, rank: int, count: int, seed: int = 0) -> list[Eraser]:
    """Erasers of random directions of the whitened states, of equal rank: what erasing as much of anything does."""
    rng, size = np.random.default_rng(seed), len(whitened.colour)
    if rank > size:
        raise ValueError(f"rank is {rank}; the states vary in {size} directions")
    return [whitened.eraser(np.linalg.qr(rng.normal(size=(size, rank)))[0]) for _ in range(count)]
