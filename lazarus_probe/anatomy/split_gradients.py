"""Whether gradients through a model that is split over processes are those of the whole model.

A process sees what its own heads and neurons do. mlx-lm sums gradients over the processes where a projection is split,
though not everywhere: what all heads share, as the latent that deepseek_v3 makes keys from, gets those of the process'
own heads, and so do the logits of a router.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx

from lazarus_probe.anatomy.anatomy import Anatomy, UnsupportedArchitecture, architecture
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.anatomy.sharding import SAME, STREAM, apart_over, few_tokens, whole_taps
from lazarus_probe.taps import tapped


def require_whole_gradients(anatomy: Anatomy, places: Iterable[tuple[int, str]] = ()) -> None:
    """Refuse gradients that are not those of the whole model; a model in one process has no others.

    Every process has to ask.

    Args:
        anatomy: of the model.
        places: layers and kinds of site at which gradients are taken.

    Raises:
        UnsupportedArchitecture: mlx-lm does not sum them over the processes, or whether it does cannot be seen.
    """
    if anatomy.ranks is None:
        return
    if anatomy.ranks.parallel == "pipeline":
        raise UnsupportedArchitecture(
            "gradients do not go back through a model in a pipeline: give the whole model in one process, split it by "
            "tensors, or do without gradients"
        )
    if anatomy not in _partial:
        _partial[anatomy] = _partial_gradients(anatomy, anatomy.ranks.group)
    partial = _partial[anatomy]
    wrong = [(layer, kind) for layer, kind in partial if kind in STREAM] or sorted(partial & set(places))
    if wrong:
        layer, kind = wrong[0]
        raise UnsupportedArchitecture(
            f"mlx-lm does not sum the gradients of {architecture(anatomy.model)} over processes, as at {kind} of block "
            f"{layer}: give the whole model in one process, or do without gradients"
        )


_partial: WeakKeyDictionary[Anatomy, frozenset[tuple[int, str]]] = WeakKeyDictionary()


def _partial_gradients(anatomy: Anatomy, group: Any) -> frozenset[tuple[int, str]]:
    """Where a gradient differs between processes although the value does not."""
    zeros: dict[str, mx.array] = {}
    places: dict[str, tuple[int, str]] = {}

    def noting(layer: int, kind: str) -> Callable[[mx.array], None]:
        def note(value: mx.array) -> None:
            if kind not in ("logits", "resid_mid"):
                places[f"{kind}.{layer}"] = layer, kind
                zeros[f"{kind}.{layer}"] = mx.zeros_like(value)

        return note

    def adding(added: dict[str, mx.array]) -> Callable[[int, str], Callable[[mx.array], mx.array | None]]:
        def at(layer: int, kind: str) -> Callable[[mx.array], mx.array | None]:
            name = f"{kind}.{layer}"
            return lambda value: value + added[name] if name in added else None

        return at

    with tapped(list(whole_taps(anatomy, noting))):
        forward(anatomy.model, few_tokens())

    def total(added: dict[str, mx.array]) -> mx.array:
        with tapped(list(whole_taps(anatomy, adding(added)))):
            logits = forward(anatomy.model, few_tokens())
        return (logits * mx.random.normal(logits.shape, key=mx.random.key(0))).sum()

    try:
        gradients = mx.grad(total)(zeros)
    except ValueError as error:
        raise UnsupportedArchitecture(
            f"gradients of {architecture(anatomy.model)} cannot be compared between processes: {error}"
        ) from error
    errors: Any = mx.stack([apart_over(gradients[name], group) for name in places]).tolist()
    return frozenset(place for place, error in zip(places.values(), errors, strict=True) if not error <= SAME)
