"""Circuits whose edges are known because they were put there, among heads and neurons that are random."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edge_attribution import edge_scores
from lazarus_probe.introspection.circuits.faithfulness import baselines, faithfulness_curve, measure_circuit
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted.circuits import signs_of
from lazarus_probe.subject import greedy
from tests.cases import slow_except
from tests.introspection.circuits.planted_pairs import (
    added_pairs,
    first_occurrence_pairs,
    first_operand_pairs,
    inhibited_pairs,
    subject_of,
)

PLACES = [(0, 2), (0, 1), (1, 3), (2, 3)]
INDUCTION = ("embed -> L0.KV0.v", "L0.H0 -> L2.KV1.k", "L2.H1 -> logits")


def auroc(pairs, edges, steps):
    scores = np.abs(edge_scores(pairs, steps).mean)
    return roc_auc_score(pairs.splitting.graph.flags(edges), scores)


def check_edges(pairs, edges):
    """The planted edges alone do it, and without one of them next to nothing is left."""
    graph, base = pairs.splitting.graph, baselines(pairs)
    found = measure_circuit(pairs, graph.flags(edges), base)
    assert found.faithfulness.value == pytest.approx(1, abs=0.1)
    assert found.faithfulness.interval.low > 0.8
    assert abs(found.without.value) < 0.1
    assert len(found.losses) == len(edges)
    for loss in found.losses:
        assert loss.interval.low > 0.8
    return base


@pytest.mark.parametrize("place", slow_except(PLACES, (0, 2)))
def test_a_hidden_circuit_is_found(place):
    """The three planted edges have the largest scores, are faithful, and are not with one of them missing."""
    organism = planted.hidden(*place)
    pairs = first_operand_pairs(organism)
    graph = pairs.splitting.graph
    for steps in (1, 5):
        assert auroc(pairs, organism.edges, steps) >= 0.99
    base = check_edges(pairs, organism.edges)
    order = edge_scores(pairs).order
    assert {str(graph[int(index)]) for index in order[:3]} == set(organism.edges)
    curve = faithfulness_curve(pairs, order, base, [1, 2, 3, 30, graph.size])
    assert curve.smallest(0.9) == 3
    assert curve.sizes == (0, 0, 3, curve.sizes[3], graph.size)
    assert curve.cpr.value == pytest.approx(1, abs=0.1)
    assert curve.cmd.value < 0.1


@pytest.mark.parametrize("place", slow_except([(0, 2), (1, 2), (0, 3)], (0, 2)))
def test_a_mover_with_its_inhibitor_is_found(place):
    """The head that decides, the query that it turns and the head that copies, among random ones.

    The softmax is saturated at both ends and at most steps between them; ten have one where it is not.
    """
    organism = planted.hidden_mover(*place)
    pairs = inhibited_pairs(organism, signs_of(0))
    assert auroc(pairs, organism.edges, 10) >= 0.99
    check_edges(pairs, organism.edges)


@pytest.mark.parametrize("place", slow_except([(0, 2), (1, 1), (1, 3)], (0, 2)))
def test_an_addition_by_table_is_found(place):
    """The head that brings the operand that differs, the MLP that has the table, and what it says."""
    organism = planted.hidden_sum(*place)
    pairs = added_pairs(organism)
    assert auroc(pairs, organism.edges, 5) >= 0.99
    check_edges(pairs, organism.edges)


@pytest.mark.parametrize("organism", [planted.hidden_mover, planted.hidden_sum], ids=["mover", "sum"])
def test_hidden_circuits_say_what_they_were_built_to_say(organism):
    """On operands of their own, in spite of the noise."""
    built = organism()
    operands = [(a, b) for a in range(1, 5) for b in range(1, 5) if a != b or organism is planted.hidden_sum]
    said = greedy(subject_of(built), [planted.prompt(a, b) for a, b in operands], max_tokens=1)
    assert said == [str(built.answer(a, b)) for a, b in operands]


def test_integrated_gradients_see_through_a_saturated_softmax():
    """The keys of an induction head that attends to one token have no gradient; with steps their edges are found."""
    pairs = first_occurrence_pairs(planted.induction(0, 2, layers=4))
    index = pairs.splitting.graph.index("L0.H0 -> L2.KV1.k")
    assert abs(edge_scores(pairs).mean[index]) < 0.01
    assert auroc(pairs, INDUCTION, 5) >= 0.99
    check_edges(pairs, INDUCTION)


def test_a_mean_over_prompts_needs_more_edges():
    """Where left out edges carry a mean, an induction head needs its query and values as well."""
    pairs = first_occurrence_pairs(planted.induction(0, 2, layers=4))
    graph, base = pairs.splitting.graph, baselines(pairs, "mean")
    more = (*INDUCTION, "embed -> L2.H1.q", "embed -> L2.KV1.v")
    kept = np.stack([graph.flags(INDUCTION), graph.flags(more)])
    few, enough = base.ratios(circuit_values(pairs, kept, "mean"))
    assert few.interval.high < 0.3
    assert enough.interval.low > 0.9


def test_an_untrained_model_has_no_such_circuit():
    """On an untrained model of that shape the planted edges do not come first, and alone are not faithful."""
    organism = planted.hidden()
    untrained = subject_of(organism).untrained(0)
    pairs = first_operand_pairs(organism, untrained)
    graph = pairs.splitting.graph
    order = edge_scores(pairs, 5).order[:3]
    assert {str(graph[int(index)]) for index in order} != set(organism.edges)
    every = np.ones(graph.size, dtype=bool)
    values = circuit_values(pairs, np.stack([graph.flags(organism.edges), every, ~every]))
    kept, full, empty = np.abs(values - values[:, 2:]).mean(axis=0)
    assert empty == 0
    assert kept < 0.5 * full
