"""Entropy neurons: planted ones are picked and act through the norm alone, and untrained models have none."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.claims.library import declared_claims
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.introspection.attribution.entropy_neurons import shares, through_the_norm
from lazarus_probe.introspection.attribution.last_neurons import LastBlock, entropy
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from tests.architectures.report import subject_of

CLAIM = declared_claims()["entropy-neurons-act-through-norm"]
PROMPTS = [f"{a} * {b}" for a, b in np.random.default_rng(0).choice(planted.NUMBERS, size=(20, 2)).tolist()]
UNITS = [str(row) for row in range(20)]


def measured(subject, prompts=PROMPTS, seed=0):
    return through_the_norm(subject, control_models(subject, count=3), prompts, UNITS, seed=seed)


def test_planted_entropy_neurons_act_through_the_norm_alone():
    """The two that write where nothing is read are picked, and with the scale held they do nothing."""
    circuit = planted.entropy_neurons()
    measurement = measured(Subject.from_model(circuit.model, circuit.tokenizer, circuit.name))
    assert sorted(measurement.details["neurons"]) == [0, 1]
    assert measurement.score > 0.95
    assert measurement.details["live_nats"] > 0.05
    assert measurement.details["held_nats"] < 1e-3
    by_name = {control.name: control for control in measurement.controls}
    assert by_name["equal_norm"].gain > 0.5
    assert by_name["untrained"].gain > 0.5


@pytest.mark.parametrize("seed", range(2))
def test_neurons_of_untrained_models_do_not(organism, seed):
    """The null: what neurons of an untrained model change may go either way, and the claim is not supported."""
    measurement = measured(organism.untrained(seed), seed=seed)
    assert measurement.low < 0.1
    assert judge(CLAIM, measurement).outcome is not Outcome.SUPPORTED


def test_moves_are_those_of_numpy(subject, naive):
    """Entropies without some neurons, with the norm as it is and with its scale held, from forwards in NumPy."""
    prompts = [[0, 5, 9, 11, 7], [0, 6, 8], [0, 9, 3, 4, 2]]
    run, model = LastBlock(subject, prompts), subject.model
    plain = [naive(model, [ids]) for ids in prompts]
    last = subject.num_layers - 1
    neurons = np.array([1, 3])
    activations = np.stack([forward[f"neurons.{last}"][0, -1] for forward in plain])
    means = activations[:, neurons].mean(axis=0)
    unembedding = model.model.embed_tokens if model.args.tie_word_embeddings else model.lm_head
    rows, gain = np.array(unembedding.weight, dtype=np.float64), np.array(model.model.norm.weight)
    live, held = run.moved(neurons)
    for number, ids in enumerate(prompts):

        def edit(name, value):
            if name == f"neurons.{last}":
                value = value.copy()
                value[:, -1, neurons] = means
            return value

        edited = naive(model, [ids], edit)
        before, after = (forward[f"resid_post.{last}"][0, -1] for forward in (plain[number], edited))
        scale = gain / np.sqrt((before**2).mean() + model.args.rms_norm_eps)
        entropies = [
            entropy(logits[None])[0]
            for logits in (plain[number]["logits"][0, -1], edited["logits"][0, -1], (after * scale) @ rows.T)
        ]
        assert live[number] == pytest.approx(abs(entropies[1] - entropies[0]), abs=1e-4)
        assert held[number] == pytest.approx(abs(entropies[2] - entropies[0]), abs=1e-4)


@pytest.mark.parametrize(("name", "adds"), [("llama", True), ("gemma2", False)])
def test_what_neurons_write_is_added_where_the_block_adds_it(name, adds):
    """Moves are those of whole runs with other activations, also in a block that norms what its MLP returns."""
    subject = subject_of(name)
    run = LastBlock(subject, [[2, 5, 9, 11, 7], [2, 6, 8], [2, 9, 3, 4, 1]])
    assert run.adds is adds
    neurons = np.array([1, 3])
    moves = run.moved(neurons)
    run.adds = False
    for move, of_whole_runs in zip(moves, run.moved(neurons), strict=True):
        np.testing.assert_allclose(move, of_whole_runs, atol=1e-5)


def test_shares_lie_between_minus_one_and_one():
    """All through the norm is 1, none is 0, and what the norm hides is -1; nothing moved is no share."""
    live, held = np.array([2.0, 1.0, 0.0, 0.0]), np.array([0.0, 1.0, 3.0, 0.0])
    np.testing.assert_array_equal(shares(live, held), [1.0, 0.0, -1.0, 0.0])


def test_a_model_without_neurons_is_refused(mamba):
    """A block that has no MLP has no neurons to set."""
    with pytest.raises(UnsupportedArchitecture, match="has no neurons of one MLP"):
        measured(mamba, [[1, 2], [3, 4]])
