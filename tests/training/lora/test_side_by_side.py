"""Runs side by side end where each would alone, see nothing of each other, and leave the model as it was."""

from __future__ import annotations

from itertools import islice

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.replay import require_free_tail
from lazarus_probe.training.batches import Sample, batches
from lazarus_probe.training.loop import Diverged, Optimisation, steps
from lazarus_probe.training.lora.lora import attached
from lazarus_probe.training.lora.side_by_side import attached_side_by_side, stacked
from lazarus_probe.training.losses import sft_loss

SEEDS = (3, 0, 7)
TARGETS = ["v_proj", "o_proj", "up_proj"]
# Of several lengths, so that the batches of two runs are seldom equally long.
SAMPLES = [Sample(tuple(range(i, i + 3 + i % 9)), 2, i % 5) for i in range(1, 25)]
# A small norm is allowed, so that each run is clipped by a factor of its own.
RATES = Optimisation(1e-2, 6, warmup=2, weight_decay=0.1, clip_norm=0.05)


def matrices(subject):
    return {
        name: np.array(value)
        for name, value in tree_flatten(subject.model.parameters())
        if name.endswith(("lora_a", "lora_b"))
    }


def alone(subject, seed):
    """The matrices and the losses of one seed, trained by itself."""
    with attached(subject, TARGETS, rank=2, scale=4.0, seed=seed) as model:
        loss = sft_loss(subject, 1, 0.4)
        losses = [step.loss for step in steps(model, loss, batches(SAMPLES, 4, seed), RATES)]
        return matrices(subject), losses


def drawn(seeds=SEEDS):
    """The batches of every seed as one, step by step."""
    rows = zip(*(batches(SAMPLES, 4, seed) for seed in seeds), strict=True)
    return ([stacked([one for (one,) in step])] for step in rows)


def together(subject, made=None):
    """The matrices of every seed, trained side by side; what the steps told goes into a list."""
    require_free_tail(subject)
    with attached_side_by_side(subject, TARGETS, 2, 4.0, SEEDS) as on:
        told = list(steps(subject.model, sft_loss(subject, 1, 0.4), drawn(), RATES, runs=len(SEEDS)))
        if made is not None:
            made.extend(told)
        weights = []
        for run in range(len(SEEDS)):
            with on.alone(run):
                weights.append(matrices(subject))
    return weights


def test_each_run_ends_where_it_would_alone(grouped):
    """After six steps every matrix of every run is that of the run by itself, up to the rounding of float32."""
    found = together(grouped)
    for run, seed in enumerate(SEEDS):
        expected, _ = alone(grouped, seed)
        assert found[run].keys() == expected.keys()
        for name, value in expected.items():
            # Adam divides a gradient by its own size: where that is near rounding, an entry is off by a share of the
            # steps it took, not of itself.
            walked = RATES.learning_rate * RATES.steps
            np.testing.assert_allclose(
                found[run][name], value, rtol=1e-4, atol=2e-4 * walked, err_msg=f"{seed} {name}"
            )
    assert any(not np.allclose(found[0][name], found[1][name]) for name in found[0])


def test_losses_are_told_run_by_run(grouped):
    """A step's parts have the loss of each run, which is the one it would have alone; the loss is their sum."""
    made = []
    together(grouped, made)
    by_run = [[step.parts[f"run {run}"] for step in made] for run in range(len(SEEDS))]
    for run, seed in enumerate(SEEDS):
        np.testing.assert_allclose(by_run[run], alone(grouped, seed)[1], rtol=1e-5)
    np.testing.assert_allclose([step.loss for step in made], np.sum(by_run, axis=0), rtol=1e-6)
    for step in made:
        assert 0.4 * step.parts["classification"] + 0.6 * step.parts["answer"] == pytest.approx(step.loss)


def test_one_run_does_not_move_another(grouped):
    """Other rows for the last run change nothing of the first."""
    found = []
    require_free_tail(grouped)
    for others in ((0, 7), (0, 8)):
        with attached_side_by_side(grouped, TARGETS, 2, 4.0, SEEDS) as on:
            given = islice(drawn((3, *others)), 4)
            list(steps(grouped.model, sft_loss(grouped, 1, 0.4), given, RATES, runs=3))
            weights = []
            for run in (0, 2):
                with on.alone(run):
                    weights.append(matrices(grouped))
            found.append(weights)
    (first, last), (again, other) = found
    for name, value in first.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-5, atol=1e-7, err_msg=name)
    assert any(not np.allclose(last[name], other[name]) for name in last)


def test_the_norm_told_is_the_largest(grouped):
    """A step tells the norm of the run whose gradient is longest."""
    made = []
    together(grouped, made)
    norms = []
    for seed in SEEDS:
        with attached(grouped, TARGETS, rank=2, scale=4.0, seed=seed) as model:
            given = steps(model, sft_loss(grouped, 1, 0.4), batches(SAMPLES, 4, seed), RATES)
            norms.append(next(given).grad_norm)
    assert made[0].grad_norm == pytest.approx(max(norms), rel=1e-4)


def test_the_model_is_as_before(grouped):
    """Weights, logits and what is trainable are untouched by runs that were on it, an error within included."""
    before, trainable = grouped.fingerprint, len(tree_flatten(grouped.model.trainable_parameters()))
    logits = np.array(forward(grouped.model, mx.array([[1, 2, 3]])))
    with pytest.raises(KeyboardInterrupt), attached_side_by_side(grouped, TARGETS, 2, 4.0, SEEDS):
        raise KeyboardInterrupt
    together(grouped)
    assert grouped.fingerprint == before
    assert len(tree_flatten(grouped.model.trainable_parameters())) == trainable
    np.testing.assert_array_equal(np.array(forward(grouped.model, mx.array([[1, 2, 3]]))), logits)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_run_that_diverges_stops_all(grouped, value):
    """A run whose weights are not finite ends the training by name, and none is moved by it."""
    require_free_tail(grouped)
    with attached_side_by_side(grouped, TARGETS, 2, 4.0, SEEDS) as on:
        for _, layer in on.projections:
            bad = mx.array([[[0.0]], [[value]], [[0.0]]])
            layer.lora_b = layer.lora_b + bad
        before = matrices(grouped)
        with pytest.raises(Diverged, match="at step 1"):
            next(steps(grouped.model, sft_loss(grouped, 1, 0.4), drawn(), RATES, runs=3))
        for name, matrix in matrices(grouped).items():
            np.testing.assert_array_equal(matrix, before[name], err_msg=name)


def test_no_seeds_are_refused(grouped):
    """Runs without a seed are refused, with what to give."""
    with (
        pytest.raises(ValueError, match="give one for each training"),
        attached_side_by_side(grouped, TARGETS, 2, 4.0, ()),
    ):
        pass


def test_rows_are_padded_to_the_longest():
    """Batches of 9 and 5 tokens become rows of 9, the filling learns nothing, and each run keeps its own counts."""
    short, long = (next(batches([Sample(tuple(range(n)), 2)] * 2, 2, 0))[0] for n in (5, 9))
    both = stacked([short, long])
    assert both.tokens.shape == (4, 9)
    assert both.learned[:2].sum().item() == short.learned.sum().item()
    assert (both.positions[:2, short.positions.shape[1] :] == -1).all().item()
    np.testing.assert_array_equal(np.array(both.learned_in_step), [6, 14])
