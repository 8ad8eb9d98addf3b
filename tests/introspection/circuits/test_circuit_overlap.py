"""What two circuits share: planted overlaps are told from those of chance."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection import circuit_overlap
from lazarus_probe.introspection.circuits.circuit_parts import Block
from lazarus_probe.introspection.circuits.edges.edge_graph import random_alike
from tests.introspection.circuits.test_circuit_drawing import circuit_of

BLOCKS = (Block(heads=6, kv_heads=3, mlp=True),) * 4


def circuit(flags):
    """A circuit of some edges (E,) of a model of four blocks."""
    return circuit_of(*circuit_of(blocks=BLOCKS).graph.named(flags), blocks=BLOCKS)


@pytest.fixture(scope="module")
def graph():
    return circuit_of(blocks=BLOCKS).graph


def drawn(graph, seed, count=60):
    """(E,) some edges, drawn at random."""
    flags = np.zeros(graph.size, dtype=bool)
    flags[np.random.default_rng(seed).choice(graph.size, count, replace=False)] = True
    return flags


def test_counts_are_those_of_sets(graph):
    """Edges and heads that write are counted as sets of their names would be."""
    first, second = circuit(drawn(graph, 0)), circuit(drawn(graph, 1))
    overlap = circuit_overlap(first, second, draws=20)
    for shared, named in ((overlap.edges, edges_of), (overlap.heads, heads_of)):
        sets = named(first), named(second)
        assert (shared.both, shared.first, shared.second) == (len(sets[0] & sets[1]), *map(len, sets))


def edges_of(found):
    return {edge.name for edge in found.edges}


def heads_of(found):
    return {edge.name.partition(" ")[0] for edge in found.edges if ".H" in edge.name.partition(" ")[0]}


def test_a_planted_overlap_is_told_from_chance(graph):
    """Half of the edges in common are more than chance; a circuit shares all with itself."""
    first = drawn(graph, 0)
    second = drawn(graph, 1)
    second[np.flatnonzero(first)[:30]] = True
    overlap = circuit_overlap(circuit(first), circuit(second))
    assert overlap.edges.p < 0.01
    assert overlap.edges.both > 3 * overlap.edges.random
    own = circuit_overlap(circuit(first), circuit(first))
    assert own.edges.both == own.edges.first == 60
    assert own.heads.both == own.heads.first


def test_circuits_of_one_shape_share_no_more_than_chance(graph):
    """Of 100 random circuits with the blocks of another, about five in a hundred have a p of .05 or less."""
    rng = np.random.default_rng(0)
    first = drawn(graph, 2)
    found = [
        circuit_overlap(circuit(first), circuit(random_alike(graph, first, rng)), draws=39, seed=seed)
        for seed in range(100)
    ]
    assert sum(overlap.edges.p <= 0.05 for overlap in found) <= 11  # of 100 at .05: above with odds below .01
    assert sum(overlap.heads.p <= 0.05 for overlap in found) <= 11


def test_what_cannot_be_compared_is_refused(graph):
    """Circuits of models of other shapes, empty ones, and no draws are named."""
    found = circuit(drawn(graph, 0))
    with pytest.raises(ValueError, match="whose heads or MLPs differ"):
        circuit_overlap(found, circuit_of("embed -> logits"))
    with pytest.raises(ValueError, match="without edges shares nothing"):
        circuit_overlap(found, circuit_of(blocks=BLOCKS))
    with pytest.raises(ValueError, match="draws is 0"):
        circuit_overlap(found, found, draws=0)
