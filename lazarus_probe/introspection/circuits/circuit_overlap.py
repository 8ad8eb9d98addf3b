"""Whether two circuits have edges and heads in common, more than circuits of their shape have by chance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.circuits.circuit_graph import CircuitGraph
from lazarus_probe.introspection.circuits.edges.edge_graph import EdgeGraph, Flags, random_alike

DRAWS = 200


@dataclass(frozen=True)
class Shared:
    """How much of one kind two circuits share.

    Attributes:
        both: how many are in both.
        first: how many the first circuit has.
        second: how many the second has.
        random: how many the first shares, on average, with random circuits of the second's shape.
        p: the share of these circuits with which it shares as many, the second counted among them.
    """

    both: int
    first: int
    second: int
    random: float
    p: float


@dataclass(frozen=True)
class CircuitOverlap:
    """What two circuits share.

    Attributes:
        edges: of both.
        heads: that write to an edge of both circuits.

    Example:
        >>> from lazarus_probe.introspection import CircuitOverlap, CircuitSearch, PromptPair
        >>> from lazarus_probe.introspection import circuit_overlap, find_circuit
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9)]]
        >>> searches = [CircuitSearch(steps=steps, edges=100, held_out=False, exact=0) for steps in (1, 2)]
        >>> overlap = circuit_overlap(*(find_circuit(subject, pairs, search) for search in searches))
        >>> isinstance(overlap, CircuitOverlap), overlap.edges.both > overlap.edges.random
        (True, True)
    """

    edges: Shared
    heads: Shared


def circuit_overlap(
    first: CircuitGraph, second: CircuitGraph, *, draws: int = DRAWS, seed: int = 0
) -> CircuitOverlap:
    """Compare two circuits of one model, or of two models with the same heads and MLPs.

    The null is a random circuit with as many edges between every two blocks as the second has: circuits that reach the
    logits share blocks by their nature.

    Args:
        first: a circuit.
        second: another.
        draws: random circuits.
        seed: of them.

    Raises:
        ValueError: the circuits are of models with other heads or MLPs, one has no edges, or `draws` is below 1.

    Example:
        >>> from lazarus_probe.introspection import CircuitSearch, PromptPair, circuit_overlap, find_circuit
        >>> pairs = [PromptPair(f"{a}+{b}=", f"{a}*{b}=", str(a + b), str(a * b)) for a, b in [(7, 8), (6, 9)]]
        >>> circuit = find_circuit(subject, pairs, CircuitSearch(steps=1, edges=100, held_out=False, exact=0))
        >>> overlap = circuit_overlap(circuit, circuit)
        >>> overlap.edges.both == len(circuit.edges), overlap.edges.p < 0.01
        (True, True)
    """
    if draws < 1:
        raise ValueError(f"draws is {draws}; at least 1 is needed")
    if first.blocks != second.blocks:
        raise ValueError(
            f"the circuits are of {first.model} and {second.model}, whose heads or MLPs differ; compare circuits of "
            "one model, or of models of one shape"
        )
    if not (first.edges and second.edges):
        raise ValueError("a circuit without edges shares nothing; give two circuits that have some")
    graph, rng = first.graph, np.random.default_rng(seed)
    own, other = graph.flags(first.named()), graph.flags(second.named())
    random = [random_alike(graph, other, rng) for _ in range(draws)]
    heads = _head_of_sender(graph)
    return CircuitOverlap(
        _shared(own, other, random),
        _shared(_heads(own, heads), _heads(other, heads), [_heads(flags, heads) for flags in random]),
    )


def _head_of_sender(graph: EdgeGraph) -> NDArray[np.intp]:
    """(E,) the number of the sender of each edge where it is a head, else -1."""
    heads = np.array([-1 if sender.head is None else number for number, sender in enumerate(graph.senders)])
    return np.asarray(heads[graph.ends[0]])


def _heads(kept: Flags, heads: NDArray[np.intp]) -> Flags:
    """(S,) which senders are heads that write to an edge of a circuit (E,)."""
    flags = np.zeros(heads.max() + 2, dtype=bool)
    flags[heads[kept]] = True  # the last one stands for all that are no heads
    return flags[:-1]


def _shared(first: Flags, second: Flags, random: Sequence[Flags]) -> Shared:
    both, by_chance = int((first & second).sum()), [int((first & flags).sum()) for flags in random]
    p = (1 + sum(count >= both for count in by_chance)) / (1 + len(random))
    return Shared(both, int(first.sum()), int(second.sum()), float(np.mean(by_chance)), p)
