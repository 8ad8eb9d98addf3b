"""A rank-one change of an MLP's down projection that writes one value for one key, made for a while.

Meng et al. 2022 (ROME, arXiv:2202.05262). The projection W is taken as a memory: what its neurons say at a subject's
last token is a key k, and what it adds to the residual stream is the value W k. Of all changes that give the key
another value, W k + u, the one that moves the values of the keys K of other text least is W + u v^T, with
v = C^-1 k / (k^T C^-1 k) and C = K K^T / n: least squares under one linear constraint.

No weight is touched. Where the projection is called, u (v . x) is added to its output, which is what the changed weight
would give; so a change may differ from row to row, works on quantised weights, and is gone however it is left.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.patching.resumed_runs import resumed_logits
from lazarus_probe.subject.batches import Prompt, by_length, encode_all
from lazarus_probe.subject.finite import refuse, require_finite
from lazarus_probe.taps import Tap, held, tapped

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

RIDGE = (
    0.01  # of the median second moment of a neuron: text of ours is too little to span all directions of keys
)
RATE, STEPS = 0.5, 16  # a step down the gradient, in norms of the value
LARGEST = 4.0  # of a change of a value, in norms of the value, as for GPT-2 XL in Meng et al.
ENOUGH = 0.05  # nats of the new answer at which its value is left as it is


def key_moments(
    subject: Subject, texts: Sequence[Prompt], layers: Sequence[int]
) -> dict[int, NDArray[np.float64]]:
    """By layer the second moment (F, F) of keys, uncentred, over all tokens of some texts.

    Raises:
        ValueError: no texts, a layer whose block has no neurons. NotFinite: a key is not.
    """
    sites = {layer: Site("neurons", layer) for layer in layers}
    sums: dict[int, NDArray[np.float64]] = {}
    count = 0
    for _, batch in by_length(encode_all(subject, texts)):
        count += batch.size
        with hooked(subject, sites.values()) as captures:
            forward(subject.model, batch)  # lazily: nothing after the last of the layers is computed
        products = {}
        for layer, site in sites.items():
            keys = captures[site].astype(mx.float32).reshape(-1, captures[site].shape[-1])
            products[layer] = keys.T @ keys
        mx.eval(products)
        for layer, product in products.items():
            if not mx.isfinite(product).all().item():
                refuse(subject, batch, f"neurons of block {layer}")
            sums[layer] = sums.get(layer, 0.0) + np.array(product, dtype=np.float64)
    return {layer: value / count for layer, value in sums.items()}


def read_directions(
    moment: NDArray[np.float64], keys: NDArray[Any], exact: NDArray[Any]
) -> NDArray[np.float64]:
    """(B, F) the directions v that read keys, of which each gives 1 at the key that must be met exactly.

    Args:
        moment: (F, F) second moment of the keys of other text; a ridge is added.
        keys: (B, F) what each direction is for, such as a mean over contexts.
        exact: (B, F) the keys k at which v . k is 1.

    Returns:
        C^-1 keys, scaled; zeros for a key that is zero or that its direction does not see.
    """
    diagonal = np.diag(moment)
    typical = float(np.median(diagonal)) or float(diagonal.mean()) or 1.0
    solved = np.linalg.solve(moment + RIDGE * typical * np.eye(len(moment)), keys.T.astype(np.float64)).T
    seen = (solved * exact).sum(axis=-1, keepdims=True)
    return np.asarray(np.divide(solved, seen, out=np.zeros_like(solved), where=seen > 0))


@contextmanager
def rank_one(subject: Subject, layer: int, change: Any, direction: Any) -> Iterator[None]:
    """Run every call of the model made within as if the layer's down projection were W + u v^T.

    Args:
        subject: the model.
        layer: the block.
        change: u (D,), or (B, D) with one a row of the batch.
        direction: v (F,), or (B, F).

    Raises:
        KeyError: the block has no down projection.
    """
    u, v = (_by_row(value) for value in (change, direction))

    def around(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        output = call(*args, **kwargs)
        strength = (args[0].astype(mx.float32) * v).sum(axis=-1, keepdims=True)
        return (output.astype(mx.float32) + strength * u).astype(output.dtype)

    with tapped([Tap(subject.anatomy.part("down_proj", layer), around=around)]):
        yield


def _by_row(value: Any) -> mx.array:
    """(1, D) or (B, 1, D) in float32, to be broadcast over positions."""
    array = mx.array(np.asarray(value, dtype=np.float32))
    return array[:, None] if array.ndim == 2 else array[None]


def fitted_changes(
    subject: Subject,
    tokens: mx.array,
    positions: NDArray[Any],
    answers: NDArray[Any],
    layer: int,
    before: Mapping[int, mx.array],
    *,
    steps: int = STEPS,
) -> NDArray[np.float64]:
    """(B, D) what must be added to the down projection's output at one token for an answer to follow, by gradient.

    Steps of equal length down the gradient of the answer's cross-entropy, until it is at most 0.05 nats; the change's
    norm is at most four times the value's. Meng et al. also hold what the model says of "{subject} is a"; here damage
    is measured instead.

    Args:
        subject: the model.
        tokens: (B, L) prompts.
        positions: (B,) the token of each prompt at which the value is changed.
        answers: (B,) the token that is to follow each prompt.
        layer: the block.
        before: of `entering`.
        steps: at most.

    Raises:
        NotFinite: logits are not finite.
    """
    own = _values(subject, tokens, positions, layer, before)
    size = np.linalg.norm(own, axis=-1, keepdims=True)
    changes = np.zeros_like(own)
    rows = np.arange(len(own))
    for _ in range(steps):
        some = {at: resid[mx.array(rows)] for at, resid in before.items() if at == layer}
        losses, gradient = _losses(
            subject, tokens[mx.array(rows)], positions[rows], answers[rows], layer, some, changes[rows]
        )
        slope = np.linalg.norm(gradient, axis=-1)
        pending = (losses > ENOUGH) & (slope > 0)  # a slope of 0: nothing reads the value any more
        rows, gradient = rows[pending], gradient[pending] / slope[pending][:, None]
        if not len(rows):
            break
        moved = changes[rows] - RATE * size[rows] * gradient
        length = np.linalg.norm(moved, axis=-1, keepdims=True)
        changes[rows] = moved * np.minimum(1, LARGEST * size[rows] / np.maximum(length, 1e-12))
    return changes


def _values(
    subject: Subject,
    tokens: mx.array,
    positions: NDArray[Any],
    layer: int,
    before: Mapping[int, mx.array],
) -> NDArray[np.float64]:
    """(B, D) what the down projection gives at one token of each prompt."""
    seen: list[mx.array] = []
    tap = Tap(subject.anatomy.part("down_proj", layer), after=lambda value: seen.append(held(value)))
    require_finite(subject, tokens, resumed_logits(subject, tokens, layer, before, [tap]))
    return np.array(seen[0].astype(mx.float32), dtype=np.float64)[np.arange(len(positions)), positions]


def _losses(
    subject: Subject,
    tokens: mx.array,
    positions: NDArray[Any],
    answers: NDArray[Any],
    layer: int,
    before: Mapping[int, mx.array],
    changes: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(B,) the cross-entropy of each answer with the values changed, and (B, D) its gradient in the changes."""
    down = subject.anatomy.part("down_proj", layer)
    here = mx.array(np.arange(tokens.shape[1])[None] == positions[:, None])[..., None]
    wanted = mx.array(answers.astype(np.int32))[:, None]

    def summed(change: mx.array) -> tuple[mx.array, mx.array]:
        def put(value: mx.array) -> mx.array:
            return value + mx.where(here, change[:, None].astype(value.dtype), 0)

        logits = resumed_logits(subject, tokens, layer, before, [Tap(down, after=put)])
        by_row = mx.logsumexp(logits, axis=-1) - mx.take_along_axis(logits, wanted, axis=-1)[:, 0]
        return by_row.sum(), by_row

    (_, by_row), gradient = mx.value_and_grad(summed)(mx.array(changes.astype(np.float32)))
    return np.array(by_row, dtype=np.float64), np.array(gradient, dtype=np.float64)
