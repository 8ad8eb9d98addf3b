"""Where the training of a tuned lens begins: at the affine map that least squares gives, where that reads better.

Least squares from a layer's residual stream to the last one's needs no unembedding, and so takes no longer than a few
training steps (Din et al. 2023, arXiv:2303.09435, read layers by such maps alone). It does not know what the tail makes
of an error, and one position of enormous norm can spoil it. So each layer's map is compared with the identity, the
plain lens, on texts that neither was fitted on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.lens.tail_divergence import divergences_from, final_distributions
from lazarus_probe.introspection.lens.tuned_lens import residuals

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

RIDGES = (1e-3, 1e-2, 1e-1)  # added to a correlation matrix
COMPARED = 64  # positions
Floats = NDArray[np.float64]
Maps = tuple[NDArray[np.float32], NDArray[np.float32]]


def least_squares_start(
    subject: Subject, pools: Iterable[mx.array], compared: Sequence[Sequence[int]], seed: int = 0
) -> Maps:
    """Weights (layers - 1, D, D) and biases (layers - 1, D) to start from.

    Args:
        subject: the model.
        pools: residual streams (N, layers, D) to fit on.
        compared: token ids of other texts, by which each layer's ridge is chosen, or the identity.
        seed: of the positions compared.
    """
    sums = None
    for pool in pools:
        part = _Sums.of(np.array(pool.astype(mx.float32)))
        sums = part if sums is None else sums.joined(part)
    if sums is None:
        raise ValueError("no texts to start a lens from; give at least one")
    zeros = np.zeros_like(sums.xx, dtype=np.float32), np.zeros_like(sums.x, dtype=np.float32)
    return nearest(subject, [zeros, *(sums.maps(ridge) for ridge in RIDGES)], compared, seed)


def nearest(
    subject: Subject, candidates: Sequence[Maps], compared: Sequence[Sequence[int]], seed: int = 0
) -> Maps:
    """By layer the maps among several that come nearest to the final distribution on some texts; of equals the first.

    Raises:
        ValueError: no texts.
    """
    resid = residuals(subject, compared)[0].astype(mx.float32) if compared else mx.zeros((0, 1, 1))
    if not len(resid):
        raise ValueError("no texts to compare lenses on; give at least one")
    rows = np.random.default_rng(seed).permutation(len(resid))[:COMPARED]
    resid = mx.swapaxes(resid[mx.array(rows.astype(np.int32))], 0, 1)
    final, below = final_distributions(subject, resid[-1]), resid[:-1]
    reached = np.stack(
        [
            divergences_from(
                final,
                subject,
                below + below @ mx.swapaxes(mx.array(weights), 1, 2) + mx.array(biases)[:, None],
            ).mean(axis=1)
            for weights, biases in candidates
        ]
    )
    best = reached.argmin(axis=0)
    return (
        np.stack([candidates[number][0][layer] for layer, number in enumerate(best)]),
        np.stack([candidates[number][1][layer] for layer, number in enumerate(best)]),
    )


def least_squares(resid: NDArray[np.float32], ridge: float) -> Maps:
    """Weights (layers - 1, D, D) and biases (layers - 1, D) of the maps that bring each layer nearest to the last.

    Args:
        resid: (N, layers, D) residual streams after each layer.
        ridge: added to the correlation matrix of each layer's coordinates.
    """
    return _Sums.of(resid).maps(ridge)


class _Sums:
    """Weighted sums over positions: of states X and of what is missing to the last layer's, Y = last - X.

    A position is weighted by the inverse square of its last state's size, since the final norm divides by that.
    """

    def __init__(self, total: float, x: Floats, y: Floats, xx: Floats, xy: Floats) -> None:
        self.total, self.x, self.y, self.xx, self.xy = total, x, y, xx, xy

    @classmethod
    def of(cls, resid: NDArray[np.float32]) -> _Sums:
        last = resid[:, -1].astype(np.float64)
        size = np.square(last).mean(axis=1)
        weight = np.divide(1.0, size, out=np.zeros_like(size), where=size > 0)[:, None]
        rows = []
        for layer in range(resid.shape[1] - 1):
            x = resid[:, layer].astype(np.float64)
            y, weighted = last - x, weight * x
            rows.append((weighted.sum(axis=0), (weight * y).sum(axis=0), weighted.T @ x, weighted.T @ y))
        return cls(float(weight.sum()), *(np.stack(part) for part in zip(*rows, strict=True)))

    def joined(self, other: _Sums) -> _Sums:
        return _Sums(
            self.total + other.total,
            self.x + other.x,
            self.y + other.y,
            self.xx + other.xx,
            self.xy + other.xy,
        )

    def maps(self, ridge: float) -> Maps:
        """A and b that bring `A X + b` nearest to Y, with a ridge on coordinates of X scaled to a variance of one."""
        weights, biases = [], []
        for x, y, xx, xy in zip(self.x, self.y, self.xx, self.xy, strict=True):
            mean_x, mean_y = x / self.total, y / self.total
            covariance = xx / self.total - np.outer(mean_x, mean_x)
            shared = xy / self.total - np.outer(mean_x, mean_y)
            scale = np.sqrt(np.maximum(np.diag(covariance), 0))
            # A coordinate that never changes tells nothing.
            inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 1e-9 * scale.max())
            correlation = covariance * inverse * inverse[:, None] + ridge * np.eye(len(scale))
            by_input = np.linalg.solve(correlation, shared * inverse[:, None]) * inverse[:, None]
            weights.append(by_input.T.astype(np.float32))
            biases.append((mean_y - mean_x @ by_input).astype(np.float32))
        return np.stack(weights), np.stack(biases)
