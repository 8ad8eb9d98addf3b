"""The arms of the study: equally many parameters, the same items, and the model as it was."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.experiments.classifier_emergence import arms
from lazarus_probe.experiments.classifier_emergence.arms import (
    ARMS,
    Run,
    equal_ranks,
    run_arm,
    run_arms,
    trained,
)
from lazarus_probe.experiments.classifier_emergence.material import FULL, SMOKE, Material, other_lines
from lazarus_probe.experiments.classifier_emergence.readings import read
from lazarus_probe.experiments.study_tasks import TASKS
from lazarus_probe.hooks import collect
from lazarus_probe.sites import resid_post
from lazarus_probe.training.lora.lora import attached, trainable_count
from tests.cases import slow_except

LAYER = 4
TRAINED = [name for name in ARMS if ARMS[name].learns != "nothing"]


def quiet(_step: int, _loss: float) -> None:
    pass


@pytest.mark.parametrize("size", [SMOKE, FULL])
def test_held_out_families_are_not_trained_on(size):
    """No operand family is on both sides, and every class is on either."""
    found = Material.of(TASKS["arithmetic"], size)
    assert not {item.family for item in found.trained} & {item.family for item in found.held_out}
    for side in (found.trained, found.held_out):
        assert {item.label for item in side} == set(found.task.labels)


@pytest.mark.parametrize(("task", "left_out"), [("arithmetic", "multiply"), ("sentiment", "sentiment")])
def test_other_tasks_are_other(task, left_out):
    """The prompts of other tasks hold none of the study's own, and no more of each than asked for."""
    found = other_lines(task, 3)
    assert left_out not in found
    assert {len(lines) for lines in found.values()} == {3}
    assert all(line.task == name for name, lines in found.items() for line in lines)


def test_arms_train_equally_many_numbers(organism, tiny):
    """Each arm's LoRA has as many numbers as that on V and O with the published rank 16, exactly on this model."""
    expected = 16 * sum(
        sum(getattr(block.self_attn, name).weight.shape)
        for block in organism.anatomy.blocks
        for name in ("v_proj", "o_proj")
    )
    for name in TRAINED:
        ranks = equal_ranks(organism, ARMS[name].targets, tiny)
        with attached(organism, ARMS[name].targets, rank=ranks) as model:
            assert trainable_count(model) == expected, name


@pytest.mark.parametrize("name", slow_except(["vo", "grpo", "routing", "untrained"], "grpo", "routing"))
def test_the_model_is_as_before(organism, tiny, name):
    """An arm leaves weights, what is trainable and answers untouched."""
    before, trainable = organism.fingerprint, len(tree_flatten(organism.model.trainable_parameters()))
    run = run_arm(organism, name, tiny, LAYER, 0, ())
    assert organism.fingerprint == before
    assert len(tree_flatten(organism.model.trainable_parameters())) == trainable
    assert len(run.reading.named) == len(tiny.held_out)


@pytest.mark.slow
def test_a_seed_decides_the_run(organism, tiny):
    """The same seed gives the same probabilities, another seed others."""
    probabilities = [run_arm(organism, "vo", tiny, LAYER, seed, ()).reading.probability for seed in (0, 0, 1)]
    assert np.array_equal(probabilities[0], probabilities[1])
    assert not np.array_equal(probabilities[0], probabilities[2])


@pytest.mark.parametrize(
    "name", slow_except(["vo", "permuted", "routing", "grpo", "untrained", "none"], "vo", "none")
)
def test_runs_side_by_side_are_those_alone(organism, tiny, name):
    """Two seeds of an arm, trained together where that can be, are the runs that each would be alone."""
    before = organism.fingerprint
    together = run_arms(organism, name, tiny, LAYER, (0, 3), ())
    assert organism.fingerprint == before
    for seed, run in zip((0, 3), together, strict=True):
        alone = run_arm(organism, name, tiny, LAYER, seed, ())
        assert (run.arm, run.seed, run.trainable, run.ranks) == (name, seed, alone.trainable, alone.ranks)
        assert run.losses == pytest.approx(alone.losses, rel=1e-3)
        np.testing.assert_allclose(run.reading.probability, alone.reading.probability, rtol=1e-2, atol=1e-4)


def test_permuted_labels_are_the_same_labels_elsewhere(organism, tiny):
    """The null arm has every class word as often as before, on other items, and no other tokens."""
    plain, permuted = (arms._samples(organism, ARMS[name], tiny, 0) for name in ("vo", "permuted"))
    words = [[sample.class_token for sample in samples] for samples in (plain, permuted)]
    assert sorted(words[0]) == sorted(words[1])
    assert words[0] != words[1]
    assert [sample.tokens for sample in plain] == [sample.tokens for sample in permuted]


def test_routing_freezes_the_classifier(organism, tiny):
    """The second training leaves the residual at the classifier layer bit for bit, and changes the answers' layers."""
    prompts = [item.prompt for item in tiny.held_out]
    sites = [resid_post(LAYER), resid_post(organism.num_layers - 1)]
    found = []
    for name in ("vo", "routing"):
        with trained(organism, ARMS[name], tiny, LAYER, 0, quiet) as (model, _, _):
            found.append(collect(model, prompts, sites))
    assert np.array_equal(found[0][sites[0]], found[1][sites[0]])
    assert not np.array_equal(found[0][sites[1]], found[1][sites[1]])


def test_without_training_nothing_is_named(organism, tiny):
    """The bundled model answers the items and names none of them."""
    found = run_arm(organism, "none", tiny, LAYER, 0).reading
    assert found.answered.mean() > 0.9
    assert not found.named.any()
    assert found.others.mean() > 0.9
    assert found.decoded.shape == found.named.shape


def test_reading_agrees_with_the_model_itself(organism, tiny):
    """At the last layer the lens is the model: the class word's probability is that of the plain forward."""
    found = read(organism, tiny, organism.num_layers - 1, ())
    tokens = tiny.tokens(organism)
    for item, probability in zip(tiny.held_out, found.probability, strict=True):
        logits = organism.model(mx.array([organism.encode(item.prompt)]))[0, -1]
        expected = mx.softmax(logits.astype(mx.float32))[tokens[item.label]].item()
        assert probability == pytest.approx(expected, rel=1e-3)


def test_a_run_is_kept_whole(organism, tiny):
    """A run that went through plain values is the run."""
    run = run_arm(organism, "none", tiny, LAYER, 0)
    again = Run.from_dict(run.as_dict())
    assert again.as_dict() == run.as_dict()
    assert again.reading.named.dtype == bool


def test_what_stops_a_training_ends_it(organism, tiny):
    """What `on_step` raises comes out, and the model is as before."""
    before = organism.fingerprint

    def stop(_step: int, _loss: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_arm(organism, "vo", tiny, LAYER, 0, (), stop)
    assert organism.fingerprint == before


def test_missing_projections_are_named(organism, tiny):
    """A projection that the model lacks is refused by its name."""
    with pytest.raises(ValueError, match="w_none"):
        equal_ranks(organism, ("w_none",), tiny)


@pytest.mark.slow
def test_permuted_words_teach_no_class(organism):
    """At smoke size V and O name held-out items; with permuted words they name no more than frequency would."""
    smoke = Material.of(TASKS["arithmetic"], SMOKE)
    named = {
        name: run_arm(organism, name, smoke, LAYER, 0, ()).reading.named.mean() for name in ("vo", "permuted")
    }
    # chance is 1/4; with n held-out items, five standard errors above it
    assert named["permuted"] < 0.25 + 5 * (0.25 * 0.75 / len(smoke.held_out)) ** 0.5
    assert named["vo"] > named["permuted"] + 0.2
