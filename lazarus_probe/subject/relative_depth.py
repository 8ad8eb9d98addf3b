"""Layers by their relative depth, as published of other models, by a number from either end, or evenly spaced."""

from __future__ import annotations

# What decimals of a depth such as 0.2778 (layer 5 of 18) lack, in layers: with four of them up to .005 of 100.
ROUNDING = 6e-3

EMBED = -1  # the embedding, as the place before layer 0


def layer_at(depth: float, num_layers: int) -> int:
    """The layer at a relative depth: layer 12 of 22 is at depth 12/22, and is layer 12 of 22, 8 of 16, 4 of 8.

    It is never the last layer, after which the logit lens is the model's own output and patching the last position
    replaces it: whatever is claimed of a layer within is true there for no reason of its own.

    Args:
        depth: the layer, counted from 0, over the number of layers; from 0 up to 1.
        num_layers: of the model.

    Raises:
        ValueError: a depth outside 0 to 1, or a model of one layer.
    """
    if not 0 <= depth <= 1:
        raise ValueError(f"depth is {depth:g}: give a layer over the number of layers, from 0 to 1")
    if num_layers < 2:
        raise ValueError(
            f"a model of {num_layers} layer has none before its last one: name the layer instead"
        )
    return min(int(depth * num_layers + ROUNDING), num_layers - 2)


def layer_number(layer: int, num_layers: int, what: str = "layer") -> int:
    """A layer counted from 0; a negative one counts from the last.

    Args:
        layer: the number that was given.
        num_layers: of the model.
        what: what an error calls it.

    Raises:
        IndexError: the model does not have it.
    """
    if not -num_layers <= layer < num_layers:
        raise IndexError(f"{what} {layer} is out of range: the model has layers 0 to {num_layers - 1}")
    return layer % num_layers


def spaced_layers(num_layers: int, count: int) -> list[int]:
    """At most `count` layers, evenly spaced from the first to the last."""
    count = min(count, num_layers)
    step = (num_layers - 1) / max(1, count - 1)
    return sorted({round(index * step) for index in range(count)})
