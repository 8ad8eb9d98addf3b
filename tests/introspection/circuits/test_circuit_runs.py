"""Circuits of edges against a Llama written out in NumPy, edge by edge."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edge_patching import edge_effects
from lazarus_probe.introspection.circuits.edges.edge_graph import random_edges
from lazarus_probe.introspection.circuits.pair_sets import pair_set
from lazarus_probe.introspection.circuits.without_edges import Thinned, values_without
from lazarus_probe.introspection.patching.path_patching import path_patch
from lazarus_probe.subject import Subject
from lazarus_probe.sweep.metrics import logit_diff
from tests.architectures import zoo
from tests.introspection.circuits.naive_edges import naive_edges

CLEAN = [[0, 5, 9, 11, 7], [0, 6, 9, 12, 7], [0, 5, 8]]
CORRUPTED = [[0, 8, 9, 10, 7], [0, 6, 4, 12, 9], [0, 9, 7]]
METRIC = logit_diff(5, 6)


def naive_circuit(model, clean, other, kept):
    """The metric where an edge carries what it does in this run if its name is kept, else what is given for it."""

    def hears(receiver, sent):
        return np.sum(
            [value if f"{name} -> {receiver}" in kept else other[name] for name, value in sent.items()],
            axis=0,
        )

    logits, _ = naive_edges(model, clean, hears)
    return logits[5] - logits[6]


def naive_others(model, ablation):
    """By pair and sender what left out edges carry."""
    runs = [naive_edges(model, ids)[1] for ids in CORRUPTED]
    if ablation == "resample":
        return runs
    if ablation == "zero":
        return [{name: np.zeros_like(value) for name, value in run.items()} for run in runs]
    # The first two pairs have one length, the third has another.
    mean = {name: (value + runs[1][name]) / 2 for name, value in runs[0].items()}
    return [mean, mean, runs[2]]


@pytest.mark.parametrize("ablation", ["resample", "mean", "zero"])
def test_circuits_are_those_of_a_naive_loop(subject, ablation):
    """Whatever edges a circuit has, the metric is that of NumPy's model in which only these carry this run."""
    pairs = pair_set(subject, CLEAN, CORRUPTED, METRIC)
    graph, rng = pairs.splitting.graph, np.random.default_rng(0)
    sizes = (graph.size // 4, graph.size // 2, graph.size - 3)
    kept = np.stack([random_edges(graph, count, rng) for count in sizes])
    found = circuit_values(pairs, kept, ablation)
    others = naive_others(subject.model, ablation)
    for column, circuit in enumerate(kept):
        names = {str(edge) for edge in graph.named(circuit)}
        for row, clean in enumerate(CLEAN):
            wanted = naive_circuit(subject.model, clean, others[row], names)
            assert found[row, column] == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_all_edges_are_the_model_and_none_the_corrupted_run(subject):
    """The full circuit has the metric of the plain run, whatever is ablated; the empty one that of the corrupted."""
    pairs = pair_set(subject, CLEAN, CORRUPTED, METRIC)
    every = np.ones((1, pairs.splitting.graph.size), dtype=bool)
    plain, other = ([_difference(subject, ids) for ids in prompts] for prompts in (CLEAN, CORRUPTED))
    for ablation in ("resample", "mean", "zero"):
        np.testing.assert_allclose(circuit_values(pairs, every, ablation)[:, 0], plain, atol=1e-4)
    np.testing.assert_allclose(circuit_values(pairs, ~every)[:, 0], other, atol=1e-4)


def _difference(subject, ids):
    logits = naive_edges(subject.model, ids)[0]
    return logits[5] - logits[6]


def test_the_size_of_a_batch_changes_nothing(grouped, monkeypatch):
    """Circuits and pairs run one by one as they do together."""
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    rng = np.random.default_rng(0)
    kept = np.stack([random_edges(pairs.splitting.graph, 90, rng) for _ in range(3)])
    together = [circuit_values(pairs, kept, ablation) for ablation in ("resample", "mean")]
    monkeypatch.setattr("lazarus_probe.introspection.circuits.pair_sets.NUMBERS_AT_ONCE", 1)
    for values, ablation in zip(together, ("resample", "mean"), strict=True):
        np.testing.assert_allclose(circuit_values(pairs, kept, ablation), values, atol=1e-5)


def test_an_edge_dangling_in_a_circuit_changes_nothing(grouped):
    """A circuit with its dangling edges is the same as without, as what hears nothing says what it did elsewhere."""
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    graph, rng = pairs.splitting.graph, np.random.default_rng(1)
    kept = random_edges(graph, 150, rng)
    pruned = graph.pruned(kept)
    assert 0 < pruned.sum() < 150
    values = circuit_values(pairs, np.stack([kept, pruned]))
    np.testing.assert_allclose(values[:, 0], values[:, 1], atol=1e-5)


def test_exact_effects_are_those_of_a_naive_loop(subject):
    """Corrupting one edge changes the metric as in NumPy's model in which that edge alone carries the corrupted run."""
    pairs = pair_set(subject, CLEAN, CORRUPTED, METRIC)
    graph = pairs.splitting.graph
    keys = f"embed -> L0.KV{subject.model.args.num_key_value_heads - 1}.k"
    edges = [
        "embed -> logits",
        "embed -> L2.H1.q",
        "L0.H3 -> L1.KV0.v",
        "L1.H2 -> L1.MLP",
        "L2.MLP -> logits",
        keys,
    ]
    found = edge_effects(pairs, edges)
    every = {str(edge) for edge in graph.named(np.ones(graph.size, dtype=bool))}
    others = naive_others(subject.model, "resample")
    for row, clean in enumerate(CLEAN):
        plain = naive_circuit(subject.model, clean, others[row], every)
        for column, edge in enumerate(edges):
            wanted = naive_circuit(subject.model, clean, others[row], every - {edge}) - plain
            assert found.values[row, column] == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    assert np.abs(found.values).max() > 0.1


@pytest.mark.parametrize("ablation", ["resample", "mean", "zero"])
@pytest.mark.parametrize("name", ["qwen2", "qwen3_moe", "gpt2", "gpt_oss", "granite", "llama_8bit"])
def test_an_edge_alone_is_a_circuit_without_it(name, ablation):
    """Whatever edge, a run from its receiver's block on gives what the circuit of all other edges does."""
    subject = Subject.from_model(zoo.build(name), name=name)
    pairs = pair_set(subject, CLEAN, CORRUPTED, METRIC)
    graph = pairs.splitting.graph
    kinds = {
        (edge.receiver.layer, edge.receiver.reads): edge for edge in map(graph.__getitem__, range(graph.size))
    }
    edges = [
        graph[index] for index in np.random.default_rng(0).choice(graph.size, 12, replace=False).tolist()
    ]
    edges = list(dict.fromkeys([*edges, *kinds.values()]))
    alone = edge_effects(pairs, edges, ablation=ablation)
    within = edge_effects(pairs, edges, np.ones(graph.size, dtype=bool), ablation)
    assert alone.edges == within.edges
    scale = np.abs(within.values).max()
    assert scale > 0
    np.testing.assert_allclose(alone.values, within.values, atol=1e-5 * max(1.0, scale))


@pytest.mark.parametrize("rows", [1, 16])
def test_circuits_without_an_edge_are_those_that_are_run_whole(grouped, monkeypatch, rows):
    """Each column is the metric of that circuit as a whole run gives it, however many run together."""
    monkeypatch.setattr("lazarus_probe.introspection.circuits.without_edges.ROWS_KEPT", rows)
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    graph, rng = pairs.splitting.graph, np.random.default_rng(2)
    kept = [random_edges(graph, count, rng) for count in (90, 200, graph.size - 1)]
    edges = [rng.choice(np.flatnonzero(flags), 8, replace=False).tolist() for flags in kept]
    edges[1].append(int(np.flatnonzero(kept[1])[-1]))  # into the logits
    thinned = values_without(pairs, [Thinned(*circuit) for circuit in zip(kept, edges, strict=True)])
    for flags, left_out, values in zip(kept, edges, thinned, strict=True):
        whole = np.repeat(flags[None], 1 + len(left_out), axis=0)
        whole[np.arange(1, len(whole)), left_out] = False
        np.testing.assert_allclose(values, circuit_values(pairs, whole), atol=1e-5)


def test_edges_run_together_as_they_do_alone(grouped, monkeypatch):
    """How many edges share a batch changes nothing."""
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    edges = [
        "embed -> L2.H1.q",
        "L0.H3 -> L2.KV0.v",
        "L1.MLP -> L2.MLP",
        "L0.MLP -> logits",
        "embed -> L2.H0.q",
    ]
    together = edge_effects(pairs, edges)
    monkeypatch.setattr("lazarus_probe.introspection.circuits.edge_patching.TOKENS_AT_ONCE", 1)
    np.testing.assert_allclose(edge_effects(pairs, edges).values, together.values, atol=1e-5)


@pytest.mark.parametrize(
    ("receiver", "site"),
    [("logits", "logits"), ("L2.H1.q", "queries.2.1"), ("L2.KV0.k", "keys.2.0"), ("L3.MLP", "mlp_out.3")],
)
def test_an_edge_is_a_path_with_mlps_held(grouped, receiver, site):
    """In the whole model an edge has the effect that path patching finds where all in between is frozen."""
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    senders = {"embed": "embed", "L0.H2": "head_out.0.2", "L1.MLP": "mlp_out.1"}
    found = edge_effects(pairs, [f"{sender} -> {receiver}" for sender in senders])
    paths = path_patch(grouped, CLEAN, CORRUPTED, list(senders.values()), site, METRIC, hold_mlps=True)
    np.testing.assert_allclose(found.values, paths.effects, atol=1e-4)


def test_what_cannot_be_run_is_refused_by_name(grouped):
    """An unknown ablation, flags of another model, an edge outside the circuit and no edges at all are refused."""
    pairs = pair_set(grouped, CLEAN, CORRUPTED, METRIC)
    every = np.ones((1, pairs.splitting.graph.size), dtype=bool)
    with pytest.raises(ValueError, match="ablation 'noise' is unknown"):
        circuit_values(pairs, every, "noise")
    with pytest.raises(ValueError, match=r"kept is \(1, 3\)"):
        circuit_values(pairs, every[:, :3])
    with pytest.raises(ValueError, match="embed -> logits is not in the circuit"):
        edge_effects(pairs, ["embed -> logits"], within=~every[0])
    with pytest.raises(ValueError, match="no edges"):
        edge_effects(pairs, [])
    with pytest.raises(ValueError, match="no pairs"):
        pair_set(grouped, [], [], METRIC)
    with pytest.raises(ValueError, match="the donor has 2 tokens and the target 3"):
        pair_set(grouped, [[0, 5, 8]], [[0, 5]], METRIC)
