"""Directions of equal norm that a steering vector is compared with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lazarus_probe.statistics.folds import halves_of_units

Floats = NDArray[np.float64]


def random_directions(direction: ArrayLike, count: int, seed: int = 0) -> NDArray[np.float64]:
    """(count, D) directions drawn at random, each with the norm of the given one."""
    reference = np.asarray(direction, dtype=np.float64)
    drawn = np.random.default_rng(seed).normal(size=(count, len(reference)))
    return rescaled(drawn, float(np.linalg.norm(reference)))


def shuffled_directions(
    states: Sequence[ArrayLike], units: Sequence[Sequence[str]], norm: float, count: int, seed: int = 0
) -> Floats:
    """(count, D) directions of a norm between random halves of the same prompts: shuffled labels.

    Each kind's units are split into two halves, and the kinds' differences of means are averaged. So the difference
    between the kinds cancels, also where one has more prompts, and other differences between prompts remain.

    Args:
        states: by kind, (N, D).
        units: by kind, (N,) the independent unit of each state.
        norm: of every direction.
        count: how many.
        seed: of the halves.

    Raises:
        ValueError: fewer than two units of a kind.
    """
    rng = np.random.default_rng(seed)
    kinds = [(np.asarray(rows, np.float64), names) for rows, names in zip(states, units, strict=True)]
    drawn = [np.mean([_between_halves(*kind, rng) for kind in kinds], axis=0) for _ in range(count)]
    return rescaled(np.stack(drawn), norm)


def rescaled(directions: Floats, norm: float) -> Floats:
    """Directions (K, D), each scaled to a norm; zero vectors stay zero."""
    lengths = np.linalg.norm(directions, axis=1, keepdims=True)
    return np.asarray(directions / np.where(lengths > 0, lengths, 1) * norm)


def _between_halves(states: Floats, units: Sequence[str], rng: np.random.Generator) -> Floats:
    rest, half = halves_of_units(units, rng, fewest=2)
    return np.asarray(states[half].mean(axis=0) - states[rest].mean(axis=0))
