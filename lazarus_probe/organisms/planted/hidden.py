"""A circuit of three edges among heads and neurons that are random, and that do a little of everything."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np

from lazarus_probe.organisms.planted import weights as by_hand
from lazarus_probe.organisms.planted.circuits import (
    TO_FIRST,
    Planted,
    planted_tokenizer,
    signs_of,
    stored_weights,
)
from lazarus_probe.organisms.planted.weights import CONSTANT, HEAD_SIZE, HEADS, NEURONS, WIDTH, Weights

OWN = 2  # neurons of the MLP that multiplies


@dataclass(frozen=True)
class PlantedEdges(Planted):
    """A planted model, and the edges by which it finds out what it says.

    Attributes:
        edges: of prompts that differ in the first operand alone, all that carry its fact to the logits.
    """

    edges: tuple[str, ...]


def hidden(
    store: int = 0, read: int = 2, noise: float = 0.02, layers: int = 4, seed: int = 0
) -> PlantedEdges:
    """Says what `stored` says; every other head and neuron reads all dimensions and adds noise to all but the constant.

    The other heads look back one to four tokens, so that they too bring the operands to the `=`, and what they write is
    read by the unembedding and by the circuit itself.

    Args:
        store: the layer whose MLP finds out the fact.
        read: the layer whose head 0 brings it to the `=`.
        noise: the size of what the others write; at 0.1 it drowns the circuit.
        layers: of the model.
        seed: of the fact and of the noise.

    Raises:
        ValueError: `store` is not below `read`, or a layer that is not there.
    """
    weights, rng = stored_weights(store, read, layers, seed), np.random.default_rng([seed, 1])
    for layer in range(layers):
        for head in range(HEADS):
            if (layer, head) != (read, 0):
                _disturb_head(weights, layer, head, noise, rng)
        _disturb_neurons(weights, layer, OWN if layer == store else 0, noise, rng)
    first, second = signs_of(seed), signs_of(seed + 1)
    return PlantedEdges(
        f"hidden-{store}-{read}",
        by_hand.assemble(weights),
        planted_tokenizer(),
        lambda a, _b: int(first[a] == second[a]),
        (f"embed -> L{store}.MLP", f"L{store}.MLP -> L{read}.KV0.v", f"L{read}.H0 -> logits"),
    )


def _disturb_head(weights: Weights, layer: int, head: int, noise: float, rng: np.random.Generator) -> None:
    attention, rows = f"model.layers.{layer}.self_attn", slice(head * HEAD_SIZE, (head + 1) * HEAD_SIZE)
    for name in ("q_proj", "k_proj", "v_proj"):
        weights[f"{attention}.{name}.weight"][rows] = 0.0
    by_hand.look_back(weights, layer, head, int(rng.integers(1, TO_FIRST + 2)), {})
    weights[f"{attention}.v_proj.weight"][rows] = rng.normal(size=(HEAD_SIZE, WIDTH)) / sqrt(HEAD_SIZE)
    weights[f"{attention}.v_proj.weight"][rows, CONSTANT] = 0.0
    weights[f"{attention}.o_proj.weight"][:, rows] = noise * rng.normal(size=(WIDTH, HEAD_SIZE))
    weights[f"{attention}.o_proj.weight"][CONSTANT, rows] = 0.0


def _disturb_neurons(weights: Weights, layer: int, own: int, noise: float, rng: np.random.Generator) -> None:
    mlp, rows = f"model.layers.{layer}.mlp", slice(own, NEURONS)
    for name in ("gate_proj", "up_proj"):
        weights[f"{mlp}.{name}.weight"][rows] = rng.normal(size=(NEURONS - own, WIDTH)) / sqrt(HEAD_SIZE)
        weights[f"{mlp}.{name}.weight"][rows, CONSTANT] = 0.0
    weights[f"{mlp}.down_proj.weight"][:, rows] = noise * rng.normal(size=(WIDTH, NEURONS - own))
    weights[f"{mlp}.down_proj.weight"][CONSTANT, rows] = 0.0
