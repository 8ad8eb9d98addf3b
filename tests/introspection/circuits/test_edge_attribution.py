"""Scores of edges against finite differences, and against what they stand for."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.introspection.circuits.edge_attribution import _gradients, edge_scores, hear_more
from lazarus_probe.introspection.circuits.pair_sets import pair_set
from lazarus_probe.introspection.circuits.split_runs import run_split
from lazarus_probe.subject import Subject
from lazarus_probe.sweep.metrics import Metric, logit_diff
from tests.architectures import zoo
from tests.introspection.circuits.naive_edges import naive_edges

CLEAN = [[0, 5, 9, 11, 7], [0, 6, 9, 12, 7], [0, 5, 8]]
CORRUPTED = [[0, 8, 9, 10, 7], [0, 6, 4, 12, 9], [0, 9, 7]]
METRIC = logit_diff(5, 6)
STEP = 1e-4  # of a central difference in float64


def naive_score(model, clean, corrupted, edge, embedded=None):
    """The slope of the metric along what corrupting an edge adds to its receiver's input, by a central difference."""
    sender, receiver = edge.split(" -> ")
    change = naive_edges(model, corrupted)[1][sender] - naive_edges(model, clean)[1][sender]

    def metric(size):
        def hears(name, sent):
            if embedded is not None:
                sent["embed"] = embedded
            return np.sum(list(sent.values()), axis=0) + (size * change if name == receiver else 0)

        logits = naive_edges(model, clean, hears)[0]
        return logits[5] - logits[6]

    return (metric(STEP) - metric(-STEP)) / (2 * STEP)


def some_edges(graph, receivers_of):
    """An edge of each kind of receiver, from senders of each kind."""
    last_key = receivers_of - 1
    return [
        "embed -> L0.H1.q",
        f"L0.H3 -> L1.KV{last_key}.k",
        "L0.MLP -> L2.KV0.v",
        "L1.H2 -> L1.MLP",
        "embed -> L3.MLP",
        "L3.MLP -> logits",
        "L2.H0 -> logits",
    ]


def test_scores_are_finite_differences(subject):
    """A score is the slope of NumPy's model along the edge, for each pair by itself."""
    pairs = pair_set(subject, CLEAN, CORRUPTED, METRIC)
    graph, found = pairs.splitting.graph, edge_scores(pairs)
    for edge in some_edges(graph, subject.model.args.num_key_value_heads):
        for row, (clean, corrupted) in enumerate(zip(CLEAN, CORRUPTED, strict=True)):
            wanted = naive_score(subject.model, clean, corrupted, edge)
            assert found.values[row, graph.index(edge)] == pytest.approx(wanted, rel=1e-3, abs=1e-4)
    assert np.abs(found.values).max() > 0.1


@pytest.mark.parametrize("name", ["gpt2", "granite", "olmoe", "llama_8bit"])
def test_gradients_are_slopes_of_other_architectures_too(name):
    """Along a random direction at the inputs of each group of receivers, the gradient is a central difference."""
    subject, rng = Subject.from_model(zoo.build(name), name=name), np.random.default_rng(0)
    clean, corrupted = rng.integers(0, subject.anatomy.vocab_size, size=(2, 2, 7)).tolist()
    pairs, rows = pair_set(subject, clean, corrupted, METRIC), np.arange(2)
    graph, tokens = pairs.splitting.graph, mx.array(clean)
    gradients = _gradients(pairs, tokens, rows, None)[2]
    for group, gradient in enumerate(gradients):
        direction = mx.array(rng.normal(size=gradient.shape).astype(np.float32))

        def metric(size, group=group, direction=direction):
            added = [mx.zeros(value.shape) for value in gradients]
            added[group] = size * direction
            logits = run_split(pairs.splitting, tokens, hear_more(graph, added))[0]
            return pairs.numbers(logits, rows).sum().item()

        slope = (metric(1e-3) - metric(-1e-3)) / 2e-3
        assert (gradient * direction).sum().item() == pytest.approx(slope, rel=1e-2, abs=1e-2)


def test_integrated_gradients_average_along_the_embeddings(grouped):
    """With three steps a score is the mean of the slopes at a third, two thirds and all of the way."""
    pairs = pair_set(grouped, CLEAN[:1], CORRUPTED[:1], METRIC)
    graph, found = pairs.splitting.graph, edge_scores(pairs, steps=3)
    own, other = (naive_edges(grouped.model, ids[0])[1]["embed"] for ids in (CLEAN, CORRUPTED))
    for edge in some_edges(graph, 2):
        slopes = [
            naive_score(grouped.model, CLEAN[0], CORRUPTED[0], edge, other + step / 3 * (own - other))
            for step in (1, 2, 3)
        ]
        assert found.values[0, graph.index(edge)] == pytest.approx(np.mean(slopes), rel=1e-3, abs=1e-4)


def test_the_metric_is_that_of_plain_forwards(grouped):
    """The metric of clean and corrupted prompts is NumPy's, also with several steps, and edges are sorted by size."""
    found = edge_scores(pair_set(grouped, CLEAN, CORRUPTED, METRIC), steps=2)
    for values, prompts in ((found.clean, CLEAN), (found.corrupted, CORRUPTED)):
        logits = [naive_edges(grouped.model, ids)[0] for ids in prompts]
        np.testing.assert_allclose(values, [row[5] - row[6] for row in logits], atol=1e-4)
    np.testing.assert_allclose(found.estimate.mean, found.values.mean(axis=0))
    assert (np.diff(np.abs(found.mean[found.order])) <= 0).all()


def test_batches_change_no_score(grouped, monkeypatch):
    """Pairs run one by one have the scores that they have together."""
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    together = edge_scores(pairs, steps=2).values
    monkeypatch.setattr("lazarus_probe.introspection.circuits.pair_sets.NUMBERS_AT_ONCE", 1)
    np.testing.assert_allclose(edge_scores(pairs, steps=2).values, together, atol=1e-5)


def test_equal_prompts_have_no_effect(grouped):
    """Where both prompts of a pair are one, every score is 0."""
    pairs = pair_set(grouped, CLEAN, CLEAN, METRIC)
    assert np.abs(edge_scores(pairs, steps=2).values).max() == 0


def test_what_has_no_scores_is_refused_by_name(grouped):
    """No steps, and a metric without a finite gradient, are refused."""
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    with pytest.raises(ValueError, match="steps is 0"):
        edge_scores(pairs, steps=0)
    steep = Metric("steep", lambda logits, _, __: mx.sqrt(mx.abs(logits[:, 0] - logits[:, 0])))
    with pytest.raises(ValueError, match=r"the score of embed -> L0\.H0\.q is nan on pair 0"):
        edge_scores(pair_set(grouped, CLEAN, CORRUPTED, steep))
