"""How far two float32 computations of one number may lie apart, and which orders of scores are then the same.

A processor sums in an order of its own (SSE, AVX2, AVX-512, another BLAS), and every sum is rounded: a comparison of
two computations is of numbers up to rounding, and of ranks up to ties. A test states the reason for its tolerance as
the size of what is compared and the number of roundings in a row, or measures it on the model itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from mlx.utils import tree_map
from numpy.typing import ArrayLike

from lazarus_probe.subject import Subject

# Two computations, each off by at most half of this at every rounding.
EPSILON = float(np.finfo(np.float32).eps)
# Roundings are independent enough to add by chance, as the root of their number (Higham and Mary 2019, SIAM J. Sci.
# Comput. 41, A2815); the largest of thousands of numbers lies within four standard deviations.
REACH = 4
# Roundings in a row in one block of a transformer: two norms (square, mean, root, quotient, weight), seven products,
# rotation, scale, softmax (three), gate (three), two additions to the stream; a product's sums are blocked and fused,
# and count as one.
IN_A_BLOCK = 32


def rounding(size: ArrayLike, depth: float = 1) -> float:
    """The tolerance of numbers as large as `size`, each made by two computations of `depth` roundings in a row.

    Args:
        size: the numbers, or those that are added up to make them; the largest counts.
        depth: n for a sum of n terms one after the other, `IN_A_BLOCK` a block for a model.
    """
    return float(REACH * EPSILON * np.sqrt(depth) * np.max(np.abs(size)))


def of_logits(subject: Subject, logits: ArrayLike) -> float:
    """The tolerance of a model's logits, log probabilities or states, after all blocks or fewer."""
    return rounding(logits, IN_A_BLOCK * subject.num_layers)


def assert_close(subject: Subject, found: ArrayLike, expected: ArrayLike, message: object = "") -> None:
    """Check that two computations of a site or of logits lie within the tolerance of the largest number of them."""
    expected = np.asarray(expected, np.float64)
    np.testing.assert_allclose(
        found, expected, rtol=0, atol=of_logits(subject, expected), err_msg=str(message)
    )


def moved_by_rounding(model: nn.Module, compute: Callable[[], mx.array], draws: int = 3) -> float:
    """How far one rounding of every weight, up or down by chance, moves what a model computes; the largest of draws.

    A sum in float32 is the exact sum of terms that are off by a rounding each (Higham 2002, Accuracy and Stability of
    Numerical Algorithms, chapter 3). So models that amplify rounding, as recurrences do, are measured and not guessed.

    Returns:
        The distance in units of the largest number in a row (the last axis).
    """
    own = model.parameters()
    plain = _rows(compute)
    far = 0.0
    try:
        for seed in range(draws):
            rng = np.random.default_rng(seed)

            def nudged(weight: mx.array, rng: np.random.Generator = rng) -> mx.array:
                if weight.dtype != mx.float32:
                    return weight
                up = rng.integers(0, 2, weight.shape, dtype=np.int8)
                return weight * mx.array(np.where(up, np.float32(1 + EPSILON), np.float32(1 - EPSILON)))

            model.update(tree_map(nudged, own))
            far = max(far, relative(_rows(compute), plain))
    finally:
        model.update(own)
    return far


def relative(found: ArrayLike, expected: ArrayLike) -> float:
    """The largest distance, in units of the largest number of its row (the last axis)."""
    found, expected = np.asarray(found, np.float64), np.asarray(expected, np.float64)
    size = np.abs(expected).max(axis=-1, keepdims=True)
    return float((np.abs(found - expected) / np.where(size > 0, size, 1.0)).max())


def possible_ranks(scores: ArrayLike, item: int, tolerance: float) -> range:
    """The ranks, from 1, that an item may have when scores within the tolerance of its own are ties.

    Args:
        scores: (N,), the higher the better.
        item: its index.
        tolerance: of a difference of two scores.
    """
    ahead = np.asarray(scores, np.float64) - np.asarray(scores, np.float64)[item]
    ahead[item] = -np.inf
    sure, tied = int((ahead > tolerance).sum()), int((np.abs(ahead) <= tolerance).sum())
    return range(1 + sure, 2 + sure + tied)


def in_order(items: Sequence[int], scores: ArrayLike, tolerance: float) -> bool:
    """Whether these are the first items by score, the best first, with either order of a tie right."""
    scores = np.asarray(scores, np.float64)
    if len(set(items)) < len(items):
        return False
    best = np.sort(scores)[::-1][: len(items)]
    return bool((np.abs(scores[list(items)] - best) <= tolerance).all())


def sole_best(scores: ArrayLike, tolerance: float) -> int:
    """The item with the highest score, where a test goes on from it and a tie would make it another test.

    Raises:
        ValueError: the next is within the tolerance; the test needs another input.
    """
    scores = np.asarray(scores, np.float64)
    second, first = np.argsort(scores)[-2:]
    if scores[first] - scores[second] <= tolerance:
        raise ValueError(
            f"items {min(first, second)} and {max(first, second)} are tied at {scores[first]:.8g}, within "
            f"{tolerance:.2g}; choose an input without a tie"
        )
    return int(first)


def _rows(compute: Callable[[], mx.array]) -> np.ndarray:
    return np.array(compute().astype(mx.float32))
