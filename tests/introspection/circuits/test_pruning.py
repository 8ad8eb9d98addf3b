"""Pruned circuits are those that were planted, and no edge of theirs can go."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edge_attribution import edge_scores
from lazarus_probe.introspection.circuits.faithfulness import baselines
from lazarus_probe.introspection.circuits.pruning import prune_circuit
from lazarus_probe.organisms import planted
from tests.introspection.circuits.planted_pairs import first_operand_pairs


@pytest.fixture(scope="module")
def pairs():
    return first_operand_pairs(planted.hidden(), count=6)


def test_what_was_planted_is_left(pairs):
    """From the forty edges with the largest scores, the three that were planted are left."""
    graph, base = pairs.splitting.graph, baselines(pairs)
    kept = np.zeros(graph.size, dtype=bool)
    kept[edge_scores(pairs).order[:40]] = True
    found = prune_circuit(pairs, kept, base, margin=0.1)
    assert {str(edge) for edge in graph.named(found.kept)} == set(planted.hidden().edges)
    assert abs(found.after - found.before) <= 0.1
    assert found.runs < 5 * 40


def test_no_edge_of_the_result_can_go(pairs):
    """Without any one of the edges that are left, faithfulness is further from where it began than the margin."""
    graph, base = pairs.splitting.graph, baselines(pairs)
    kept = np.zeros(graph.size, dtype=bool)
    kept[edge_scores(pairs).order[:25]] = True
    found = prune_circuit(pairs, kept, base, margin=0.01)
    edges = np.flatnonzero(found.kept)
    smaller = np.repeat(found.kept[None], len(edges), axis=0)
    smaller[np.arange(len(edges)), edges] = False
    values = circuit_values(pairs, smaller).mean(axis=0)
    least = np.abs((values - base.empty.mean()) / base.gap - found.before).min()
    assert least > 0.01 or len(edges) == 1
    assert len(edges) < 25
    assert (found.kept <= kept).all()


def test_what_cannot_be_pruned_is_refused_by_name(pairs):
    """A margin below 0 and a circuit whose edges lead nowhere are refused."""
    graph, base = pairs.splitting.graph, baselines(pairs)
    with pytest.raises(ValueError, match="margin is -1"):
        prune_circuit(pairs, np.ones(graph.size, dtype=bool), base, -1)
    with pytest.raises(ValueError, match="has 0 edges on a path"):
        prune_circuit(pairs, graph.flags(["L0.H1 -> logits"]), base)
