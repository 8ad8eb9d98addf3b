"""A circuit that is given as its edges: planted ones are faithful, broken ones are not."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from lazarus_probe.claims.judging import judge_declared
from lazarus_probe.claims.verdict import Outcome
from lazarus_probe.introspection import PromptPair, find_circuit, listed_circuit
from lazarus_probe.introspection.circuits.circuit_search import CircuitSearch
from lazarus_probe.introspection.circuits.edges.edge_graph import random_paths
from lazarus_probe.introspection.circuits.listed_circuit import CLAIM
from lazarus_probe.introspection.circuits.splitting import split
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from tests.introspection.circuits.planted_pairs import subject_of
from tests.introspection.circuits.test_faithful_circuit import pairs_of


@pytest.fixture(scope="module")
def organism():
    return planted.hidden()


@pytest.fixture(scope="module")
def subject(organism):
    return subject_of(organism)


@pytest.fixture(scope="module")
def pairs(organism):
    return pairs_of(organism, 24)[0]


def test_the_planted_circuit_is_supported(organism, subject, pairs):
    """Its three edges have all of the answer, every one is needed, and random ones have nothing."""
    measurement = listed_circuit(subject, pairs, organism.edges)
    assert measurement.score > 0.99
    assert (measurement.details["edges"], measurement.details["listed"]) == (3, 3)
    assert measurement.parts[0].score == 1
    assert judge_declared(CLAIM, measurement).outcome is Outcome.SUPPORTED


@pytest.mark.parametrize("missing", range(3))
def test_a_circuit_without_one_edge_leads_nowhere(organism, subject, pairs, missing):
    """What is left of three edges in a row without one of them has no path."""
    edges = [edge for number, edge in enumerate(organism.edges) if number != missing]
    with pytest.raises(ValueError, match="none of the 2 edges is on a path from the embedding to the logits"):
        listed_circuit(subject, pairs, edges)


def test_random_edges_beside_the_circuit_show_in_its_minimality(organism, subject, pairs):
    """Ten random paths beside it leave it faithful, and its edges are needed less often."""
    exact = listed_circuit(subject, pairs, organism.edges)
    graph = find_circuit(subject, pairs, CircuitSearch(steps=1, edges=20, exact=0)).graph
    blurred = graph.flags(organism.edges) | random_paths(graph, 20, np.random.default_rng(0))
    measurement = listed_circuit(subject, pairs, blurred)
    assert measurement.score > 0.9
    assert measurement.parts[0].score < 0.6 < exact.parts[0].score


@pytest.mark.parametrize("seed", range(10))
def test_random_weights_have_no_circuit_of_these_edges(make_llama, tokenizer, seed):
    """The null: random paths in random weights are never supported."""
    numbers = np.random.default_rng(seed).integers(0, 10, size=(24, 3)).tolist()
    pairs = [PromptPair(f"{x} * {b} =", f"{a} * {b} =", str(x), str(a)) for a, x, b in numbers if a != x]
    subject = Subject.from_model(make_llama(seed), tokenizer, "random")
    edges = random_paths(split(subject).graph, 200, np.random.default_rng(seed))
    with suppress(ValueError):  # most such models do not tell the prompts apart
        measurement = listed_circuit(subject, pairs, edges, seed=seed)
        assert judge_declared(CLAIM, measurement).outcome is not Outcome.SUPPORTED


def test_groups_of_pairs_are_its_units(organism, subject, pairs):
    """Pairs of a group are one unit, or the kinds of units that are given."""
    grouped = [
        PromptPair(pair.source, pair.target, pair.source_answer, pair.target_answer, group=str(number // 2))
        for number, pair in enumerate(pairs)
    ]
    assert listed_circuit(subject, grouped, organism.edges).groups == 12
    units = {"half": [str(number % 2) for number in range(24)]}
    assert listed_circuit(subject, pairs, organism.edges, units).units == {"half": 2}


def test_edges_that_the_model_does_not_have_are_refused(subject, pairs):
    """By name, with what there is."""
    with pytest.raises(ValueError, match=r"the model has no L9\.MLP of L9\.MLP -> logits; its blocks are"):
        listed_circuit(subject, pairs, ["L9.MLP -> logits"])
