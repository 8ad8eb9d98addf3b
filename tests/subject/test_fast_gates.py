"""Gates by NumPy: the same numbers within float32's rounding, no block more than mlx would compute, and a way back."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.models import activations, llama

from lazarus_probe.hooks.activations import collect
from lazarus_probe.introspection.circuits.circuit_runs import circuit_values
from lazarus_probe.introspection.circuits.edge_patching import edge_effects
from lazarus_probe.introspection.circuits.pair_sets import pair_set
from lazarus_probe.subject import Subject, fast_gates, greedy
from lazarus_probe.subject.fast_gates import numpy_swiglu
from lazarus_probe.subject.last_position import last_logits
from lazarus_probe.sweep import Donors, Zero, answer, kl, logit_diff, route_of, sweep

pytestmark = pytest.mark.skipif(not fast_gates.is_fast(), reason="on a GPU gates are the model's own")
PROMPTS = ["7 * 8 = 5", "a cat", "12 + 5 = 1", "a dog"]


@pytest.fixture
def wide(make_llama, tokenizer):
    return Subject.from_model(make_llama(hidden_size=64, intermediate_size=1024), tokenizer, "wide")


@pytest.fixture
def calls(monkeypatch):
    """How often NumPy computes a gate."""
    counted = []

    def counting(gate, up):
        counted.append(gate.shape)
        return numpy_swiglu(gate, up)

    monkeypatch.setattr(fast_gates, "numpy_swiglu", counting)
    return counted


def test_values_are_those_of_mlx():
    """To two roundings, with closed gates 0 and open ones the value itself, and what is not finite stays so."""
    gate = mx.array([[-200.0, -90, -5, -1e-3, 0, 1e-3, 5, 90, 200, mx.inf, mx.nan]])
    up = mx.random.normal(gate.shape, key=mx.random.key(0))
    expected = np.array(activations.swiglu(gate, up))
    found = np.array(numpy_swiglu(gate, up))
    assert np.isnan(found[0, -1])
    np.testing.assert_allclose(found[:, :-1], expected[:, :-1], rtol=5e-7, atol=1e-30)


def test_activations_are_those_of_the_models_own_code(wide, calls, monkeypatch):
    """Within rounding after every block, and to the bit where the environment asks for the model's own code."""
    sites = [f"resid_post.{layer}" for layer in range(wide.num_layers)] + ["neurons.1", "logits"]
    fast = collect(wide, PROMPTS, sites)
    assert calls
    monkeypatch.setenv("LAZARUS_GATES", "model")
    count = len(calls)
    own = collect(wide, PROMPTS, sites)
    assert len(calls) == count
    for site, values in own.items():
        np.testing.assert_allclose(fast[site], values, rtol=1e-4, atol=1e-5 * np.abs(values).max())


@pytest.mark.parametrize(
    ("site", "blocks"), [("embed", 0), ("pattern.1", 1), ("resid_post.1", 1), ("logits", 4)]
)
def test_no_block_is_computed_that_mlx_would_leave_out(wide, calls, site, blocks):
    """Only blocks that something below the highest site needs are computed at once."""
    collect(wide, ["7 * 8 = 5"], [site], at="last" if site != "pattern.1" else 0)
    assert len(calls) == blocks


def test_circuits_are_those_of_the_models_own_code(wide, calls, monkeypatch):
    """Circuits and edges alone agree within rounding, and each run computes the gates of its blocks once."""
    pairs = pair_set(wide, [[1, 2, 3], [1, 4, 3]], [[5, 2, 6], [7, 4, 8]], logit_diff(5, 6))
    graph = pairs.splitting.graph
    kept = np.random.default_rng(0).random((2, graph.size)) < 0.5
    edges = ["embed -> L0.H1.q", "L0.MLP -> L2.MLP", "L1.H0 -> L3.KV0.v", "L3.MLP -> logits"]
    last_logits(wide, mx.array([[1, 2]]))  # that the last position may be cut out is checked once a model
    calls.clear()
    circuits = circuit_values(pairs, kept)
    assert len(calls) == 2 * wide.num_layers  # the corrupted run, and both circuits together
    calls.clear()
    alone = edge_effects(pairs, edges)
    # The corrupted and the clean run, and one from each receiver's block on; the model to begin from is plain.
    assert len(calls) == 3 * wide.num_layers + sum(wide.num_layers - layer for layer in (0, 2, 3))
    monkeypatch.setenv("LAZARUS_GATES", "model")
    np.testing.assert_allclose(circuit_values(pairs, kept), circuits, atol=1e-5)
    np.testing.assert_allclose(edge_effects(pairs, edges).values, alone.values, atol=1e-5)


def test_sweeps_are_those_of_the_models_own_code(wide, calls, monkeypatch):
    """Cells agree within rounding and generate the same answers, and no gate is computed that a cell does not need."""
    assert route_of(wide).tail
    calls.clear()
    sweep(wide, PROMPTS[:1], ["resid_post.1"], sources={"zero": Zero()}, metrics=[kl()], positions="last")
    assert len(calls) == wide.num_layers + 2  # the plain run, and the blocks after the edit
    assert calls[-1][:2] == (1, 1)  # the last block at the last position alone
    sites = ["resid_pre.0", "head_out.1.2", "mlp_out.2", "neurons.3", "resid_post.3"]
    sources = {
        "zero": Zero(),
        "donor": Donors(["a dog = 5", "a cow", "34 + 7 = 9", "a cat"], equal_lengths=False),
    }
    arguments = {"sources": sources, "metrics": [kl(), answer(max_tokens=3)], "positions": [0, -1]}
    fast = sweep(wide, PROMPTS, sites, **arguments)
    monkeypatch.setenv("LAZARUS_GATES", "model")
    count = len(calls)
    own = sweep(wide, PROMPTS, sites, **arguments)
    assert len(calls) == count
    np.testing.assert_allclose(fast.values["kl"], own.values["kl"], atol=1e-5)
    assert (fast.values["answer"] == own.values["answer"]).all()


def test_answers_are_the_same(wide, calls, monkeypatch):
    """Greedy answers are those of the model's own code, and the model's function is put back."""
    fast = greedy(wide, PROMPTS, 6)
    assert calls
    assert llama.swiglu is activations.swiglu
    monkeypatch.setenv("LAZARUS_GATES", "model")
    assert greedy(wide, PROMPTS, 6) == fast


def test_narrow_models_keep_their_bits(grouped, calls):
    """A small model's gates are the model's own."""
    collect(grouped, PROMPTS, ["logits"])
    assert not calls


def test_the_function_is_put_back_after_an_error(wide):
    """However the context is left."""

    def fails():
        with fast_gates.fast_gates(wide):
            assert llama.swiglu is not activations.swiglu
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert llama.swiglu is activations.swiglu
