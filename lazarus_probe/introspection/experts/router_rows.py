"""The rows of a mixture's routers, one per expert: how many directions they span, and how similar they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.places import whole_value
from lazarus_probe.introspection.experts.routing import routed_layers
from lazarus_probe.statistics.bounded import bounded_mean_interval
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.cosines import mean_cosine
from lazarus_probe.statistics.measurement import Control, Curve, Measurement

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Floats = NDArray[Any]
Trait = Literal["spared_rank", "cosine"]
ENERGY = 0.95


def router_rows(subject: Subject, layer: int) -> Floats:
    """(E, D) the direction that each expert's logit reads, in float64.

    The router is run on each basis vector, so that quantised routers need no special care.

    Raises:
        KeyError: the block has no router. ValueError: its router is not linear.
    """
    anatomy = subject.anatomy
    router = anatomy.part("router", layer)
    axes = mx.eye(anatomy.hidden_size)  # in float32, whatever the weights are in
    read = [whole_value(anatomy, layer, "router_logits", router(scale * axes)) for scale in (0.0, 1.0, 2.0)]
    zero, one, two = (np.array(value.astype(mx.float32), dtype=np.float64) for value in read)
    if not np.allclose(two - one, one - zero, rtol=1e-3, atol=1e-4):
        raise ValueError(f"the router of block {layer} is not linear; its rows cannot be read")
    return np.asarray((one - zero).T)


def spared_rank(rows: Floats) -> float:
    """The share of the rows' directions not needed for 95% of their energy: 0 for orthogonal rows of one length."""
    energy = np.linalg.svd(rows, compute_uv=False) ** 2
    needed = int(np.searchsorted(np.cumsum(energy), ENERGY * energy.sum()) + 1)
    return 1 - needed / len(energy)


def router_geometry(subject: Subject, trait: Trait, seed: int = 0) -> Measurement:
    """A trait of the routers' rows, averaged over layers, against `random_matrix`: Gaussian rows of equal shape.

    Args:
        subject: a mixture of experts of at least two routed layers.
        trait: `spared_rank`, or `cosine`. For the cosine the gain is the random matrix's over the model's: rows
            that are further apart than random ones.
        seed: of the random rows and the intervals.

    Raises:
        ValueError: fewer than two layers that route, or a router that is not linear.
    """
    layers = routed_layers(subject)
    if len(layers) < 2:
        raise ValueError(f"{subject.name} has {len(layers)} layers with experts; at least 2 are needed")
    measure, sign = (spared_rank, 1.0) if trait == "spared_rank" else (mean_cosine, -1.0)
    rng, rows = np.random.default_rng(seed), [router_rows(subject, layer) for layer in layers]
    ours = np.array([measure(matrix) for matrix in rows])
    random = np.array([measure(rng.standard_normal(matrix.shape)) for matrix in rows])
    interval = bounded_mean_interval(ours, layers, -1.0 if trait == "cosine" else 0.0, 1.0, seed=seed)
    gains = sign * (ours - random)
    of_gain = paired_interval(gains, layers, seed=seed, bound=2.0 if trait == "cosine" else 1.0)
    control = Control("random_matrix", float(random.mean()), float(gains.mean()), of_gain.low, of_gain.high)
    return Measurement(
        score=float(ours.mean()),
        low=interval.low,
        high=interval.high,
        n=len(layers),
        groups=len(layers),
        unit="share of directions spared" if trait == "spared_rank" else "mean cosine of two rows",
        controls=(control,),
        seed=seed,
        details={"experts": len(rows[0]), "width": rows[0].shape[1]},
        curves=(_curve("score", layers, ours), _curve("random_matrix", layers, random)),
    )


def _curve(name: str, layers: Sequence[int], values: Floats) -> Curve:
    return Curve(name, tuple(layers), tuple(map(float, values)))
