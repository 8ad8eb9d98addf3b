"""The tests of a circuit against arithmetic, a naive loop, planted circuits and random weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from lazarus_probe.introspection.circuits import circuit_tests as module
from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.circuit_tests import (
    equivalence,
    found_again,
    jaccard,
    minimality,
    stability,
)
from lazarus_probe.introspection.circuits.edge_attribution import EdgeScores, edge_scores
from lazarus_probe.introspection.circuits.edges.edge_graph import (
    BlockNodes,
    EdgeGraph,
    random_edges,
    random_paths,
)
from lazarus_probe.introspection.circuits.pair_sets import plain_values
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from tests.introspection.circuits.planted_pairs import first_operand_pairs

GRAPH = EdgeGraph((BlockNodes(4, 2), BlockNodes(4, 2), BlockNodes(4, 2)))


@pytest.fixture(scope="module")
def organism():
    return planted.hidden()


@pytest.fixture(scope="module")
def pairs(organism):
    return first_operand_pairs(organism, count=12)


def scores_of(values):
    numbers = np.zeros(len(values))
    return EdgeScores(GRAPH, "metric", values, numbers, numbers, 1)


def test_the_sign_test_counts_groups():
    """Pairs of a group are one, the interval is exact, and p is that of a share near a half."""
    model = np.zeros(40)
    circuit = np.where(np.arange(40) // 2 < 15, 1.0, -1.0)  # larger in 15 of 20 groups
    found = equivalence(circuit, model, [row // 2 for row in range(40)])
    assert (found.share, found.n) == (0.75, 20)
    exact = binomtest(15, 20).proportion_ci(0.95)
    assert (found.interval.low, found.interval.high) == pytest.approx((exact.low, exact.high))
    assert found.p == pytest.approx(2 * binomtest(15, 20, 0.6, alternative="greater").pvalue)


def test_a_circuit_that_does_as_its_model_is_not_told_from_it():
    """The same numbers are ties, and a circuit that always falls short is told apart."""
    model = np.random.default_rng(0).normal(size=24)
    assert (equivalence(model, model, range(24)).share, equivalence(model, model, range(24)).p) == (0.5, 1)
    short = equivalence(model - 0.1, model, range(24))
    assert short.share == 0
    assert short.interval.high < 0.2
    assert short.p < 1e-4


def test_the_sign_test_refuses_what_it_cannot_count():
    """Unequal lengths and numbers that are not finite."""
    with pytest.raises(ValueError, match="2 numbers of the circuit, 3 of the model, 2 groups"):
        equivalence([1.0, 2.0], [1.0, 2.0, 3.0], "ab")
    with pytest.raises(ValueError, match=r"model\[1\] is nan"):
        equivalence([1.0, 2.0], [1.0, float("nan")], "ab")


def test_losses_are_those_of_single_runs(pairs):
    """The mean change, up or down, of the metric of the circuit without that edge alone."""
    graph = pairs.splitting.graph
    kept = random_edges(graph, 60, np.random.default_rng(3))
    found = minimality(pairs, kept, count=5, paths=100)
    for edge, loss in zip(found.edges, found.losses, strict=True):
        without = kept.copy()
        without[edge] = False
        alone = np.concatenate([circuit_values(pairs, flags[None]) for flags in (kept, without)], axis=1)
        assert loss == pytest.approx(np.abs(alone[:, 1] - alone[:, 0]).mean(), abs=1e-4)
    assert len(found.random) == 100


def test_every_edge_of_the_planted_circuit_is_needed(organism, pairs):
    """Its three edges alone are minimal, and with ten random ones added the others are told apart."""
    graph = pairs.splitting.graph
    exact = graph.flags(organism.edges)
    alone = minimality(pairs, exact)
    assert alone.share == 1
    random = random_edges(graph, 10, np.random.default_rng(0))
    blurred = minimality(pairs, exact | random)
    needed = dict(zip(blurred.edges.tolist(), blurred.losses.tolist(), strict=True))
    planted_edges = set(np.flatnonzero(exact).tolist())
    least = min(needed[edge] for edge in planted_edges)
    assert least > 10 * max(loss for edge, loss in needed.items() if edge not in planted_edges)
    assert blurred.share < 0.6
    assert blurred.interval.high < 1


def test_a_missing_edge_is_told_apart(organism, pairs):
    """The circuit without any of its three edges outdoes the model nowhere, and the whole one as often as not."""
    model = plain_values(pairs)[0]
    exact = pairs.splitting.graph.flags(organism.edges)
    circuits = np.repeat(exact[None], 4, axis=0)
    circuits[np.arange(1, 4), np.flatnonzero(exact)] = False
    whole, *broken = circuit_values(pairs, circuits).T
    assert equivalence(whole, model, range(12)).p > 0.05
    assert all(equivalence(values, model, range(12)).p < 0.05 for values in broken)


def test_random_circuits_of_random_weights_are_not_minimal(make_llama, tokenizer, organism):
    """The null: edges on random paths are needed no more than others on random paths, about a tenth of the time."""
    shares = []
    for seed in range(6):
        pairs = first_operand_pairs(
            organism, Subject.from_model(make_llama(seed), tokenizer, "random"), count=3
        )
        kept = random_paths(pairs.splitting.graph, 40, np.random.default_rng(seed))
        found = minimality(pairs, kept, count=20, seed=seed, paths=40)
        assert found.interval.low < 0.5
        shares.append(found.share)
    assert np.mean(shares) < 0.35


@pytest.mark.parametrize("spread", [0.2, 2.0])
def test_the_interval_of_the_share_holds_the_truth(spread):
    """Over other edges and other random paths, whether they differ much or little."""
    quantile = np.exp(spread * 1.2815515655446004)
    held, truth = 0, 0.6
    shift = quantile / np.exp(spread * -0.2533471031357997)  # six in ten are above
    for seed in range(200):
        rng = np.random.default_rng(seed)
        losses = shift * rng.lognormal(sigma=spread, size=30)
        found = module._share_interval(losses, rng.lognormal(sigma=spread, size=100), rng, draws=300)
        held += found.low <= truth <= found.high
    assert held >= 188


def test_minimality_refuses_circuits_that_it_cannot_compare(pairs):
    """No edges, all edges, and too few to draw."""
    size = pairs.splitting.graph.size
    for kept in (np.zeros(size, dtype=bool), np.ones(size, dtype=bool)):
        with pytest.raises(ValueError, match=f"the circuit has {kept.sum()} of {size} edges"):
            minimality(pairs, kept)
    some = random_edges(pairs.splitting.graph, 9, np.random.default_rng(0))
    for name in ("count", "paths"):
        with pytest.raises(ValueError, match=f"{name} is 1; at least 2 are needed"):
            minimality(pairs, some, **{name: 1})


def test_scores_that_agree_are_stable():
    """The same scores in every group give the same circuit, and noise gives another each time."""
    rng = np.random.default_rng(0)
    same = np.repeat(rng.normal(size=(1, GRAPH.size)), 12, axis=0)
    found = stability(scores_of(same), 0.2, range(12))
    assert (found.overlap, found.interval.low, found.interval.high) == (1, 1, 1)
    assert found.correlation == pytest.approx(1)
    assert found_again(scores_of(same), 0.2, range(12)) == [1] * 5
    noise = rng.normal(size=(12, GRAPH.size))
    assert stability(scores_of(noise), 0.2, range(12)).overlap < 0.7
    assert np.mean(found_again(scores_of(noise), 0.2, range(12))) < 0.3


def test_resamples_draw_groups_and_not_pairs():
    """Copies of a pair within its group change nothing."""
    values = np.random.default_rng(1).normal(size=(8, GRAPH.size))
    copied = np.repeat(values, 3, axis=0)
    once = stability(scores_of(values), 0.2, range(8))
    again = stability(scores_of(copied), 0.2, np.repeat(range(8), 3).tolist())
    assert (once.overlap, once.interval) == (again.overlap, again.interval)


def test_the_planted_circuit_is_found_again(organism, pairs):
    """Three edges of other prompts are the same three edges."""
    scores = edge_scores(pairs, steps=5)
    share = 3 / scores.graph.size
    assert stability(scores, share, range(12)).overlap > 0.8
    assert np.mean(found_again(scores, share, range(12))) > 0.8


def test_too_few_groups_to_find_a_circuit_again_are_refused():
    """One group has no resamples, and three make no five folds."""
    values = scores_of(np.ones((3, GRAPH.size)))
    with pytest.raises(ValueError, match="1 groups and 20 resamples; at least 2 of each"):
        stability(values, 0.2, "aaa")
    with pytest.raises(ValueError, match="5 folds of 3 groups; give at least 2"):
        found_again(values, 0.2, "abc")


def test_overlap_is_that_of_jaccard():
    """Both over either, and 0 of nothing."""
    first, second = np.array([True, True, False]), np.array([True, False, True])
    assert jaccard(first, second) == pytest.approx(1 / 3)
    assert jaccard(~(first | second), np.zeros(3, dtype=bool)) == 0
