"""Circuits of a few edges among heads and neurons that are random, and that do a little of everything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from math import sqrt

import numpy as np

from lazarus_probe.organisms.planted import weights as by_hand
from lazarus_probe.organisms.planted.circuits import (
    TO_FIRST,
    TO_SECOND,
    Planted,
    codes_of,
    copy_first,
    embed,
    planted_tokenizer,
    say_codes,
    signs_of,
    start,
    stored_weights,
)
from lazarus_probe.organisms.planted.weights import (
    CONSTANT,
    FIRST,
    FLAGS,
    HEAD_SIZE,
    HEADS,
    MARK,
    NEURONS,
    SEEN,
    WIDTH,
    Weights,
)

ABOVE_NOISE = 4.0  # a flag at the `=`, where noise of other heads is added to it
OWN = 2  # neurons of the MLP that multiplies
ADDED = range(1, 5)  # operands of the table: a neuron for each pair
FIRST_FLAGS, SECOND_FLAGS = SEEN[:4], SEEN[4:]  # which operand each of them is, at the `=`


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
    weights = stored_weights(store, read, layers, seed)
    _disturb(weights, layers, {(read, 0)}, {store: OWN}, noise, seed)
    first, second = signs_of(seed), signs_of(seed + 1)
    return PlantedEdges(
        f"hidden-{store}-{read}",
        by_hand.assemble(weights),
        planted_tokenizer(),
        lambda a, _b: int(first[a] == second[a]),
        (f"embed -> L{store}.MLP", f"L{store}.MLP -> L{read}.KV0.v", f"L{read}.H0 -> logits"),
    )


def hidden_mover(
    inhibit: int = 0, move: int = 2, noise: float = 0.02, layers: int = 4, seed: int = 0
) -> PlantedEdges:
    """Says one of its two operands: a head copies the first, unless another one sends it to the second.

    Head 1 of `inhibit` brings the second operand's hidden sign to the `=`, where it turns the query of head 0 of
    `move`: where it is negative, that head looks at the second operand. All other heads and neurons add noise.

    Args:
        inhibit: the layer of the head that decides.
        move: the layer of the head that copies.
        noise: the size of what the others write.
        layers: of the model.
        seed: of signs, codes and noise.

    Raises:
        ValueError: `inhibit` is not below `move`, or a layer that is not there.
    """
    if not 0 <= inhibit < move < layers:
        raise ValueError(f"inhibit is {inhibit} and move {move}: give 0 <= inhibit < move < {layers}")
    weights, signs = start(move, layers, seed), signs_of(seed)
    embed(weights, MARK, signs)
    copy_first(weights, move, 0, seed)
    by_hand.look_back(weights, inhibit, 1, TO_SECOND, {MARK: FIRST})
    by_hand.look_either_way(weights, move, 0, FIRST, TO_FIRST, TO_SECOND)
    _disturb(weights, layers, {(inhibit, 1), (move, 0)}, {}, noise, seed)
    return PlantedEdges(
        f"mover-{inhibit}-{move}",
        by_hand.assemble(weights),
        planted_tokenizer(),
        lambda a, b: a if signs[b] > 0 else b,
        (f"embed -> L{inhibit}.KV1.v", f"L{inhibit}.H1 -> L{move}.H0.q", f"L{move}.H0 -> logits"),
    )


def hidden_sum(
    look: int = 0, add: int = 2, noise: float = 0.01, layers: int = 4, seed: int = 0
) -> PlantedEdges:
    """Adds two operands from 1 to 4 by a table: two heads bring them to the `=`, and a neuron has each sum.

    Args:
        look: the layer whose heads 0 and 1 bring the first and the second operand.
        add: the layer whose MLP has the table.
        noise: the size of what the others write.
        layers: of the model.
        seed: of codes and noise.

    Raises:
        ValueError: `look` is above `add`, or a layer that is not there.
    """
    if not 0 <= look <= add < layers:
        raise ValueError(f"look is {look} and add {add}: give 0 <= look <= add < {layers}")
    weights = start(add, layers, seed)
    say_codes(weights, seed)
    for number in ADDED:
        embed(weights, FLAGS[number - 1], {number: 1.0})
    for head, (distance, place) in enumerate(((TO_FIRST, FIRST_FLAGS), (TO_SECOND, SECOND_FLAGS))):
        moves = {FLAGS[number - 1]: place[number - 1] for number in ADDED}
        by_hand.look_back(weights, look, head, distance, moves, ABOVE_NOISE)
    sums = {(FIRST_FLAGS[a - 1], SECOND_FLAGS[b - 1]): codes_of(seed)[a + b] for a in ADDED for b in ADDED}
    by_hand.table(weights, add, sums, ABOVE_NOISE)
    _disturb(weights, layers, {(look, 0), (look, 1)}, {add: NEURONS}, noise, seed)
    return PlantedEdges(
        f"sum-{look}-{add}",
        by_hand.assemble(weights),
        planted_tokenizer(),
        lambda a, b: a + b,
        (f"embed -> L{look}.KV0.v", f"L{look}.H0 -> L{add}.MLP", f"L{add}.MLP -> logits"),
    )


def _disturb(
    weights: Weights,
    layers: int,
    heads: Collection[tuple[int, int]],
    neurons: Mapping[int, int],
    noise: float,
    seed: int,
) -> None:
    """Make noise of all heads but some, and in each layer of all neurons but the first few."""
    rng = np.random.default_rng([seed, 1])
    for layer in range(layers):
        for head in range(HEADS):
            if (layer, head) not in heads:
                _disturb_head(weights, layer, head, noise, rng)
        _disturb_neurons(weights, layer, neurons.get(layer, 0), noise, rng)


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
