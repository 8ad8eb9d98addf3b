"""The loop against a plain one without compilation, its accumulation, and the weights a divergence leaves."""

from __future__ import annotations

import resource
from itertools import islice, repeat
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map

from lazarus_probe.hooks.captures import HookError
from lazarus_probe.training.batches import Sample, batches, collate
from lazarus_probe.training.loop import Diverged, Optimisation, grad_checkpointed, optimizer_for, steps
from lazarus_probe.training.lora.lora import attached
from lazarus_probe.training.losses import sft_loss

RATES = Optimisation(1e-2, 10, warmup=3, final_learning_rate=1e-3, weight_decay=0.1, clip_norm=0.5)
SAMPLES = [Sample(tuple(range(i, i + 3 + i % 4)), 2, i % 5) for i in range(1, 17)]


def linear() -> nn.Linear:
    mx.random.seed(0)
    return nn.Linear(6, 3)


def squared(model: nn.Module):
    def loss(x: mx.array, y: mx.array):
        total = (model(x) - y).square().mean()
        return total, {"twice": 2 * total}

    return loss


def data(rows: int = 8, seed: int = 0) -> tuple[mx.array, mx.array]:
    keys = mx.random.split(mx.random.key(seed), 2)
    return mx.random.normal((rows, 6), key=keys[0]), mx.random.normal((rows, 3), key=keys[1])


def flat(tree: Any) -> dict[str, np.ndarray]:
    return {name: np.array(value) for name, value in tree_flatten(tree)}


def adamw_by_hand(weights: dict[str, np.ndarray], x: np.ndarray, y: np.ndarray, rates: Optimisation):
    """AdamW with clipping, warm-up and cosine in NumPy float64, on the squared error of a linear layer."""
    weights = {name: value.astype(np.float64) for name, value in weights.items()}
    first = {name: np.zeros_like(value) for name, value in weights.items()}
    second = {name: np.zeros_like(value) for name, value in weights.items()}
    losses, norms, used = [], [], []
    for t in range(1, rates.steps + 1):
        error = x @ weights["weight"].T + weights["bias"] - y
        losses.append((error**2).mean())
        grads = {"weight": 2 * error.T @ x / error.size, "bias": 2 * error.sum(axis=0) / error.size}
        norms.append(np.sqrt(sum((grad**2).sum() for grad in grads.values())))
        if t <= rates.warmup:
            rate = rates.learning_rate * t / rates.warmup
        else:
            share = (t - rates.warmup) / (rates.steps - rates.warmup)
            span = rates.learning_rate - rates.final_learning_rate
            rate = rates.final_learning_rate + span * (1 + np.cos(np.pi * share)) / 2
        used.append(rate)
        for name, grad in grads.items():
            grad = grad * min(1.0, rates.clip_norm / norms[-1])
            first[name] = 0.9 * first[name] + 0.1 * grad
            second[name] = 0.999 * second[name] + 0.001 * grad**2
            moved = (first[name] / (1 - 0.9**t)) / (np.sqrt(second[name] / (1 - 0.999**t)) + 1e-8)
            weights[name] = weights[name] * (1 - rate * rates.weight_decay) - rate * moved
    return weights, losses, norms, used


def test_steps_are_those_of_adamw_by_hand(compiling):
    """Weights, losses, norms and rates of ten steps are those of a plain NumPy AdamW."""
    model, (x, y) = linear(), data()
    weights, losses, norms, rates = adamw_by_hand(flat(model.parameters()), np.array(x), np.array(y), RATES)
    made = list(steps(model, squared(model), repeat([(x, y)]), RATES))
    assert [step.step for step in made] == list(range(1, 11))
    np.testing.assert_allclose([step.loss for step in made], losses, rtol=1e-4)
    np.testing.assert_allclose([step.parts["twice"] for step in made], 2 * np.array(losses), rtol=1e-4)
    np.testing.assert_allclose([step.grad_norm for step in made], norms, rtol=1e-3)
    np.testing.assert_allclose([step.learning_rate for step in made], rates, rtol=1e-12)
    assert {step.tokens for step in made} == {x.size}
    for name, value in flat(model.parameters()).items():
        np.testing.assert_allclose(value, weights[name], rtol=1e-4, atol=1e-6)


def test_norm_above_the_limit_is_reported_whole():
    """The clip acts (else the test above could not tell), and the norm that is reported is the one before it."""
    model = linear()
    made = next(steps(model, squared(model), repeat([data()]), RATES))
    assert made.grad_norm > RATES.clip_norm


def test_rate_warms_up_and_falls():
    """The rate rises linearly to its height, and falls as a cosine to the last step's."""
    rates = [RATES.rate(step) for step in range(1, 11)]
    assert rates[:3] == pytest.approx([1e-2 / 3, 2e-2 / 3, 1e-2])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert rates[-1] == pytest.approx(1e-3)
    assert Optimisation(1.0, 4).rate(1) < 1.0


def test_micro_batches_add_up_to_one_large_batch(grouped):
    """Four micro-batches, of different lengths and one short, make the step of one batch that holds their rows."""
    found = []
    rows = SAMPLES[:14]
    parts = [rows[i : i + 4] for i in range(0, 14, 4)]
    for given in (collate(parts), collate([rows])):
        with attached(grouped, ["v_proj", "o_proj"], rank=2) as model:
            (step,) = steps(model, sft_loss(grouped, 1, 0.4), iter([given]), Optimisation(1e-2, 1))
            found.append((step, flat(model.trainable_parameters())))
    (many, weights), (one, expected) = found
    assert many.loss == pytest.approx(one.loss, rel=1e-5)
    assert many.parts == pytest.approx(one.parts, rel=1e-5)
    assert many.grad_norm == pytest.approx(one.grad_norm, rel=1e-4)
    moved = max(np.abs(value).max() for name, value in expected.items() if "lora_b" in name)
    for name, value in weights.items():
        np.testing.assert_allclose(value, expected[name], atol=1e-3 * moved, err_msg=name)


def naive_steps(subject, model: Any, count: int) -> list[float]:
    """Plain steps of a whole-batch loss: no compilation, no gathering, no hooks."""
    from mlx import optimizers

    optimizer = optimizers.AdamW(0.0, weight_decay=0.01, bias_correction=True)
    rates, losses = Optimisation(1e-2, count), []

    def loss(tokens: mx.array, learned: mx.array):
        each = nn.losses.cross_entropy(model(tokens[:, :-1]), tokens[:, 1:])
        return (each * learned).sum() / learned.sum()

    for number, (batch,) in enumerate(islice(batches(SAMPLES, 4, 0), count), 1):
        optimizer.learning_rate = rates.rate(number)
        value, grads = nn.value_and_grad(model, loss)(batch.tokens, batch.learned)
        norm = np.sqrt(sum((np.array(grad) ** 2).sum() for _, grad in tree_flatten(grads)))
        factor = min(1.0, 1.0 / (norm + 1e-6))
        optimizer.update(model, tree_map(lambda grad, factor=factor: grad * factor, grads))
        mx.eval(model.parameters(), optimizer.state)
        losses.append(value.item())
    return losses


def test_training_is_that_of_a_naive_loop(grouped, compiling):
    """Eight steps of LoRA over batches of several shapes end where a loop without compilation or hooks ends."""
    with attached(grouped, ["v_proj", "up_proj"], rank=2) as model:
        expected = naive_steps(grouped, model, 8)
        wanted = flat(model.trainable_parameters())
    with attached(grouped, ["v_proj", "up_proj"], rank=2) as model:
        made = list(steps(model, sft_loss(grouped), batches(SAMPLES, 4, 0), Optimisation(1e-2, 8)))
        found = flat(model.trainable_parameters())
    np.testing.assert_allclose([step.loss for step in made], expected, rtol=1e-4)
    for name, value in found.items():
        np.testing.assert_allclose(value, wanted[name], rtol=1e-2, atol=1e-4, err_msg=name)


def test_next_batch_is_pulled_only_when_asked_for():
    """What a step trains on is asked for after the step before was made, so that it may depend on the weights."""
    model, seen = linear(), []

    def pulled():
        while True:
            seen.append(np.array(model.weight))
            yield [data()]

    made = steps(model, squared(model), pulled(), RATES)
    assert not seen
    next(made)
    assert len(seen) == 1
    after = np.array(model.weight)
    next(made)
    np.testing.assert_array_equal(seen[1], after)


def test_training_ends_with_the_batches():
    """A finite list of batches ends the training before its last step."""
    model = linear()
    assert len(list(steps(model, squared(model), iter([[data()]] * 3), RATES))) == 3


def infinite_slope(model: nn.Module):
    """A loss of 0 whose gradient is not finite where `z` is 0: the root has an infinite slope there."""

    def loss(x: mx.array, y: mx.array, z: mx.array):
        return (model(x) - y).square().mean() + mx.sqrt((z * model.bias).square().sum()), {}

    return loss


@pytest.mark.parametrize(
    ("bad", "z", "message"),
    [
        (float("nan"), 1.0, "the loss is nan"),
        (float("inf"), 1.0, "the loss is inf"),
        (1.0, 0.0, "norm of the gradient"),
    ],
)
def test_divergence_leaves_the_last_good_weights(bad, z, message):
    """A loss or gradient that is no number stops the training with weights and moments of the step before."""
    model, optimizer, (x, y) = linear(), optimizer_for(RATES), data()
    good, one = (x, y, mx.array(1.0)), (x, y * bad, mx.array(z))
    made = steps(model, infinite_slope(model), iter([[good]] * 3 + [[good, one]]), RATES, optimizer)
    list(islice(made, 3))
    before = {**flat(model.parameters()), **flat(optimizer.state)}
    with pytest.raises(Diverged, match=f"{message}.* at step 4; lower the learning rate") as caught:
        next(made)
    assert caught.value.step == 4
    assert not np.isfinite(caught.value.value)
    for name, value in {**flat(model.parameters()), **flat(optimizer.state)}.items():
        assert value.tobytes() == before[name].tobytes(), name


def test_a_weight_that_is_not_finite_before_the_step_is_named():
    """A loss that is NaN because of a weight is put down to the weight, and not to the learning rate."""
    model = linear()
    model.weight[1, 2] = mx.nan
    x, y = mx.ones((4, 6)), mx.zeros((4, 3))
    made = steps(model, infinite_slope(model), iter([[(x, y, mx.array(1.0))]]), RATES)
    with pytest.raises(
        Diverged, match=r"the weight weight holds 1 of 18 numbers .* before this step: give other"
    ):
        next(made)


def test_dropout_drops_in_steps_only(compiling):
    """Two steps on the same data draw different dropout, and between steps the model is in the mode it was in."""
    mx.random.seed(0)
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 3))
    model.eval()
    still = Optimisation(0.0, 4, weight_decay=0.0)
    losses = []
    for step in steps(model, squared(model), repeat([data()]), still):
        assert not any(module.training for module in model.modules())
        losses.append(step.loss)
    assert len(set(losses)) == 4


def test_an_error_in_the_loss_leaves_the_model_whole(grouped):
    """A loss that fails while it is traced leaves weights that can be used, and hooks and modes as they were."""
    before = flat(grouped.model.parameters())

    def loss(tokens: mx.array):
        grouped.model(tokens)
        raise HookError("no")

    with attached(grouped, ["v_proj"], rank=2) as model, pytest.raises(HookError):
        next(steps(model, loss, repeat([(mx.array([[1, 2]]),)]), Optimisation(1e-2, 1)))
    after = flat(grouped.model.parameters())
    assert all(np.array_equal(value, before[name]) for name, value in after.items())


def test_nothing_trainable_is_refused(grouped):
    """A frozen model is an error, and so is a step without batches."""
    model = linear()
    with pytest.raises(ValueError, match="step 1 has no micro-batches"):
        next(steps(model, squared(model), repeat([]), RATES))
    model.freeze()
    with pytest.raises(ValueError, match="no weight is trainable"):
        next(steps(model, squared(model), repeat([data()]), RATES))


def test_frozen_weights_do_not_move(grouped):
    """What is not trained is the same array afterwards, bit for bit."""
    before = flat(grouped.model.parameters())
    with attached(grouped, ["o_proj"], rank=2) as model:
        list(steps(model, sft_loss(grouped), batches(SAMPLES, 4, 0), Optimisation(1e-2, 3)))
    assert all(
        value.tobytes() == before[name].tobytes() for name, value in flat(grouped.model.parameters()).items()
    )


@pytest.mark.parametrize("whole", [True, False], ids=["all weights", "LoRA"])
def test_checkpointed_gradients_are_the_same(grouped, whole):
    """With blocks run again for the backward pass, loss and gradients of both losses are those without."""
    (batch,) = collate([SAMPLES])

    def measured(model):
        (value, _), grads = nn.value_and_grad(model, sft_loss(grouped, 1, 0.4))(*batch)
        return value.item(), flat(grads)

    def both(model):
        classes = [type(module) for module in model.modules()]
        plain = measured(model)
        with grad_checkpointed(grouped):
            again = measured(model)
        assert [type(module) for module in model.modules()] == classes
        return plain, again

    if whole:
        (value, grads), (found, again) = both(grouped.model)
    else:
        with attached(grouped, ["v_proj", "o_proj"], rank=2) as model:
            (value, grads), (found, again) = both(model)
    assert found == pytest.approx(value, rel=1e-6)
    for name, grad in grads.items():
        np.testing.assert_allclose(again[name], grad, rtol=1e-4, atol=1e-6, err_msg=name)


def test_checkpointed_steps_train(grouped):
    """Compiled steps within a checkpointed model make the losses of plain ones."""
    losses = []
    for inside in (True, False):
        with attached(grouped, ["v_proj"], rank=2) as model:
            made = steps(model, sft_loss(grouped, 1, 0.4), batches(SAMPLES, 4, 0), Optimisation(1e-2, 4))
            if inside:
                with grad_checkpointed(grouped):
                    losses.append([step.loss for step in made])
            else:
                losses.append([step.loss for step in made])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


@pytest.mark.slow
def test_memory_is_flat(grouped):
    """A thousand steps of several shapes hold no more memory at their end than after the first hundred."""
    with attached(grouped, ["v_proj", "o_proj"], rank=2) as model:
        made = steps(model, sft_loss(grouped, 1, 0.4), batches(SAMPLES, 4, 0, 0, 2), Optimisation(1e-3, 1000))
        list(islice(made, 100))
        active, peak = mx.get_active_memory(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        assert len(list(made)) == 900
        assert mx.get_active_memory() <= active + 1000
        # in KiB on Linux
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss <= peak + 4096
