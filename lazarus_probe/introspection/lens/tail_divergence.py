"""How far what the model's tail makes of residual streams is from its final distribution, and which way is nearer.

The products are the model's own, of as many states at once as memory allows: of a few, most of the time goes to reading
the unembedding. The exponentials over the vocabulary are NumPy's on a CPU, where `mx.exp` takes one number at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.replay import replay
from lazarus_probe.subject.finite import refuse_state

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

LOGITS_AT_ONCE = 2**24  # 64 MB, of which there are three copies


@dataclass(frozen=True, eq=False)
class Final:
    """The model's final distributions at N positions.

    Attributes:
        weight: (N, V) probabilities.
        negative_entropy: (N,) in nats.
    """

    weight: NDArray[np.float32]
    negative_entropy: NDArray[np.float64]


def final_distributions(subject: Subject, resid: mx.array) -> Final:
    """What the model's tail makes of the last layer's residual streams (N, D).

    Raises:
        NotFinite: a state is not finite, or what the tail makes of it.
    """
    tail = _tail(subject)
    weight = np.empty((len(resid), subject.anatomy.vocab_size), dtype=np.float32)
    negative_entropy = np.empty(len(resid))
    for _, rows in _parts(subject, 1, len(resid)):
        logits = _logits(subject, tail, resid[None, rows])
        exponentials, total = _exponentials(logits)
        weight[rows] = (exponentials / total[..., None])[0]
        negative_entropy[rows] = (_weighted(weight[rows], logits) - np.log(total))[0]
    return Final(weight, negative_entropy)


def divergences_from(final: Final, subject: Subject, resid: mx.array) -> NDArray[np.float64]:
    """KL(final || tail) in nats (K, N), of residual streams (K, N, D) after K layers.

    Raises:
        NotFinite: a state is not finite, or what the tail makes of it.
    """
    return _divergences(final, subject, resid)[0]


def divergences_and_slopes(
    final: Final, subject: Subject, resid: mx.array
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """As `divergences_from`, and the derivative (K, N, D) of each by its residual stream."""
    slopes = np.empty(resid.shape, dtype=np.float32)
    return _divergences(final, subject, resid, slopes)


def _divergences(
    final: Final, subject: Subject, resid: mx.array, slopes: NDArray[np.float32] | None = None
) -> tuple[NDArray[np.float64], Any]:
    """The divergences; the slopes are put into the array that is given for them."""
    tail, kl = _tail(subject), np.empty(resid.shape[:2])
    for layers, rows in _parts(subject, *resid.shape[:2]):
        states, weight = resid[layers, rows], final.weight[rows]
        logits = _logits(subject, tail, states)
        exponentials, total = _exponentials(logits)
        kl[layers, rows] = np.log(total) - _weighted(weight, logits) + final.negative_entropy[rows]
        if slopes is not None:
            exponentials /= total[..., None]
            exponentials -= weight
            # The tail runs a second time in name only: mlx computes what the derivative needs, and nothing else.
            slopes[layers, rows] = np.array(mx.vjp(tail, [states], [mx.array(exponentials)])[1][0])
    return kl, slopes


def _tail(subject: Subject) -> Callable[[mx.array], mx.array]:
    """Logits (K, N, V) in float32 of residual streams (K, N, D), in the model's own type."""
    dtype = getattr(mx, subject.dtype)
    return lambda resid: replay(subject, resid.astype(dtype)).astype(mx.float32)


def _parts(subject: Subject, layers: int, rows: int) -> Iterator[tuple[slice, slice]]:
    """Layers and rows whose logits fit into memory together."""
    most = max(1, LOGITS_AT_ONCE // subject.anatomy.vocab_size)
    height = min(rows, most)
    width = max(1, most // max(1, height))
    for row in range(0, rows, height):
        for layer in range(0, layers, width):
            yield slice(layer, layer + width), slice(row, row + height)


def _logits(subject: Subject, tail: Callable[[mx.array], mx.array], states: mx.array) -> NDArray[np.float32]:
    """Logits (K, N, V), less the largest of each position."""
    logits = np.array(tail(states))
    largest = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(largest).all():
        flat = states.reshape(-1, 1, states.shape[-1])
        refuse_state(subject, flat, int(np.argmin(np.isfinite(largest.ravel()))))
    logits -= largest
    return logits


def _exponentials(logits: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Of logits (K, N, V) below 0, and their sums (K, N)."""
    on_cpu = mx.default_device() == mx.cpu
    exponentials = np.exp(logits) if on_cpu else np.array(mx.exp(mx.array(logits)))
    return exponentials, exponentials.sum(axis=-1, dtype=np.float64)


def _weighted(weight: NDArray[np.float32], logits: NDArray[np.float32]) -> NDArray[np.float64]:
    """(K, N) mean logits (K, N, V) under the weights (N, V); a logit of minus infinity has no weight."""
    # A dot product of BLAS: einsum adds one number after the other, and loses four digits over a large vocabulary.
    return np.array(np.matmul(logits[..., None, :], weight[..., None])[..., 0, 0], dtype=np.float64)
