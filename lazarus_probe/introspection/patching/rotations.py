"""Searching the subspace in which an interchange of states has the effect that a causal model says.

Distributed alignment search (Geiger et al. 2023, arXiv:2303.02536). A state h of the target becomes
h + R R^T (s - h), with s the source's state and R (D, k) orthonormal: the source's in the subspace, the target's own
around it. R is moved down the gradient of the loss within the orthonormal matrices, and brought back to them by QR.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.split_gradients import require_whole_gradients
from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.patching.resumed_runs import resumed_logits
from lazarus_probe.subject.batches import by_length

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

RATE, STEPS = 0.3, 60  # the first step as an angle, in radians, from which steps fall to 0
MOMENTUM = 0.9


@dataclass(frozen=True, eq=False)
class Interchange:
    """Pairs of prompts at one layer, in batches of targets of equal length.

    Attributes:
        subject: the model.
        layer: after which states are interchanged.
        rows: by batch which pairs.
        tokens: by batch (B, L) of the targets.
        own: by batch the residual stream (B, L, D) of the targets after the layer.
        moves: by batch (B, D) the source's state less the target's, at the position.
        places: by batch (B, L, 1) where that position is.
        options: (O,) the tokens among which an answer is chosen.
    """

    subject: Subject
    layer: int
    rows: tuple[NDArray[np.intp], ...]
    tokens: tuple[mx.array, ...]
    own: tuple[mx.array, ...]
    moves: tuple[mx.array, ...]
    places: tuple[mx.array, ...]
    options: mx.array

    @property
    def size(self) -> int:
        """Pairs of all batches."""
        return sum(map(len, self.rows))

    def scores(self, basis: NDArray[Any] | None) -> NDArray[np.float64]:
        """(N, O) logits of the options after each target with states interchanged in a subspace; wholly for None."""
        values = np.empty((self.size, len(self.options)))
        for number, rows in enumerate(self.rows):
            logits = self._logits(number, None if basis is None else mx.array(basis.astype(np.float32)))
            values[rows] = np.array(logits, dtype=np.float64)
        if not np.isfinite(values).all():
            raise ValueError(f"logits after layer {self.layer} are not finite with states interchanged there")
        return values

    def slope(self, basis: NDArray[Any], wanted: NDArray[np.intp]) -> tuple[float, NDArray[np.float64]]:
        """The mean cross-entropy of the wanted options (N,), and its gradient (D, k) in the basis."""
        require_whole_gradients(self.subject.anatomy)
        total, gradient = 0.0, np.zeros(basis.shape)
        for number, rows in enumerate(self.rows):
            labels = mx.array(wanted[rows].astype(np.int32))[:, None]

            def loss(rotation: mx.array, number: int = number, labels: mx.array = labels) -> mx.array:
                logits = self._logits(number, rotation)
                picked = mx.take_along_axis(logits, labels, axis=-1)[:, 0]
                return (mx.logsumexp(logits, axis=-1) - picked).sum()

            value, slope = mx.value_and_grad(loss)(mx.array(basis.astype(np.float32)))
            total += float(np.array(value))
            gradient += np.array(slope, dtype=np.float64)
        return total / self.size, gradient / self.size

    def _logits(self, number: int, basis: mx.array | None) -> mx.array:
        moves = self.moves[number] if basis is None else (self.moves[number] @ basis) @ basis.T
        own = self.own[number]
        resid = own + mx.where(self.places[number], moves[:, None], 0).astype(own.dtype)
        after = self.layer + 1
        return resumed_logits(self.subject, self.tokens[number], after, {after: resid})[:, self.options]


def interchange(
    subject: Subject,
    sources: Sequence[Sequence[int]],
    targets: Sequence[Sequence[int]],
    options: Sequence[int],
    layer: int,
    position: int,
) -> Interchange:
    """Record what an interchange needs: targets' residual streams, and how far the sources' states are from theirs.

    Args:
        subject: the model.
        sources: (N,) token ids.
        targets: (N,) token ids.
        options: (O,) tokens among which an answer is chosen.
        layer: after which states are interchanged.
        position: in both prompts, from the start or, if negative, from the end.

    Raises:
        IndexError: a layer, or a position that a prompt does not have. NotFinite: states are not finite.
    """
    site = Site("resid_post", layer)
    foreign = collect(subject, sources, [site], at=position)[site]
    batches = list(by_length(targets))
    rows, tokens, own, moves, places = [], [], [], [], []
    for indices, batch in batches:
        resid = trace(subject, batch, [site])[site]
        states = np.array(resid[:, position].astype(mx.float32))
        here = np.zeros((len(indices), batch.shape[1], 1), dtype=bool)
        here[:, position] = True
        rows.append(np.array(indices))
        tokens.append(batch)
        own.append(resid)
        moves.append(mx.array(foreign[indices] - states))
        places.append(mx.array(here))
    mx.eval(own, moves, places)
    return Interchange(
        subject,
        layer,
        tuple(rows),
        tuple(tokens),
        tuple(own),
        tuple(moves),
        tuple(places),
        mx.array(list(options)),
    )


def random_basis(width: int, size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(D, k) orthonormal columns of a random subspace."""
    return np.asarray(np.linalg.qr(rng.normal(size=(width, size)))[0])


def fitted_basis(
    pairs: Interchange, wanted: NDArray[np.intp], size: int, rng: np.random.Generator, steps: int = STEPS
) -> NDArray[np.float64]:
    """(D, k) the orthonormal basis with the least loss of those met by descent from a random one.

    Args:
        pairs: to train on.
        wanted: (N,) which option each pair should be followed by.
        size: k of the subspace.
        rng: of the first basis.
        steps: of the descent.
    """
    basis = random_basis(pairs.moves[0].shape[-1], size, rng)
    best, least = basis, np.inf
    run = np.zeros_like(basis)
    for step in range(steps + 1):
        loss, gradient = pairs.slope(basis, wanted)
        if loss < least:
            best, least = basis, loss
        along = tangent(basis, gradient)
        if step == steps or not along.any():
            break
        run = tangent(basis, MOMENTUM * run + (1 - MOMENTUM) * along / np.linalg.norm(along))
        basis = on_manifold(basis - RATE * (1 - step / steps) * run / np.linalg.norm(run))
    return best


def tangent(basis: NDArray[Any], gradient: NDArray[Any]) -> NDArray[np.float64]:
    """The part of a gradient (D, k) along which a basis stays orthonormal."""
    mixed = basis.T @ gradient
    return np.asarray(gradient - basis @ (mixed + mixed.T) / 2)


def on_manifold(matrix: NDArray[Any]) -> NDArray[np.float64]:
    """The orthonormal factor of QR, with the signs that leave an orthonormal matrix as it is."""
    orthonormal, triangle = np.linalg.qr(matrix)
    return np.asarray(orthonormal * np.where(np.diag(triangle) < 0, -1.0, 1.0))


def principal_angles(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.float64]:
    """The angles in radians, smallest first, between the spaces of two orthonormal bases (D, k) and (D, l).

    Example:
        >>> import numpy as np
        >>> from lazarus_probe.introspection import principal_angles
        >>> axes = np.eye(4)
        >>> np.degrees(principal_angles(axes[:, :2], axes[:, 1:3])).round().tolist()
        [0.0, 90.0]
    """
    cosines = np.linalg.svd(first.T @ second, compute_uv=False)
    return np.asarray(np.arccos(np.clip(cosines, -1, 1)))
