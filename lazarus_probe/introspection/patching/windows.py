"""Windows of neighbouring layers that are edited together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.hooks.sites import Site

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


def windows_with(
    subject: Subject, kind: str, layers: Sequence[int] | None, window: int
) -> tuple[tuple[int, ...], ...]:
    """The layers that have a kind of site, in the window around each layer.

    Args:
        subject: the model.
        kind: of the site, such as `scores` or `mlp_out`.
        layers: the middle of each window; by default all whose window has such a layer.
        window: layers of a window, as far as the model has them.

    Raises:
        UnsupportedArchitecture: no block has the kind, or none of a requested window.
        ValueError: an unknown kind, a window below 1, no layers, or one that does not exist.
    """
    count = subject.num_layers
    having = [layer for layer in range(count) if Site(kind, layer).kind in kinds_at(subject.anatomy, layer)]
    if not having:
        kinds = ", ".join(kinds_at(subject.anatomy, 0))
        raise UnsupportedArchitecture(f"{subject.name} has no {kind}; block 0 has {kinds}")
    middles = list(range(count) if layers is None else layers)
    if window < 1 or not middles:
        raise ValueError(f"window is {window} of {len(middles)} layers; give at least one of both")
    windows = []
    for middle in middles:
        if not 0 <= middle < count:
            raise ValueError(f"layer {middle} is not there; the model has 0 to {count - 1}")
        first = middle - (window - 1) // 2
        layers_of = tuple(layer for layer in range(first, first + window) if layer in having)
        if not layers_of and layers is not None:
            raise UnsupportedArchitecture(
                f"{subject.name} has no {kind} around block {middle}; these have: {', '.join(map(str, having))}"
            )
        windows += [layers_of] if layers_of else []
    return tuple(windows)


def named_window(layers: Sequence[int]) -> str:
    """A window in words: `L3`, or `L3-7`."""
    return f"L{layers[0]}" if len(layers) == 1 else f"L{layers[0]}-{layers[-1]}"
