"""The rank-one change: its closed form by a KKT system, its effect by a model whose weight was changed, its traces."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.introspection.editing.rank_one import (
    LARGEST,
    RATE,
    RIDGE,
    fitted_changes,
    key_moments,
    rank_one,
    read_directions,
)
from lazarus_probe.introspection.patching.resumed_runs import entering
from lazarus_probe.subject import Subject
from lazarus_probe.taps import is_tapped

IDS = [[0, 5, 9, 11, 7, 30], [0, 6, 8, 22, 17, 3], [0, 9, 3, 4, 2, 12]]
TEXTS = [*IDS, [0, 3, 3, 8], [0, 40, 41, 42, 43]]
POSITIONS, ANSWERS = np.array([2, 3, 2]), np.array([5, 6, 7])
LAYER = 1


def weight_of(subject: Subject) -> mx.array:
    return subject.anatomy.part("down_proj", LAYER).weight


def test_the_direction_solves_the_constrained_least_squares():
    """Of all changes that give a key its new value, W + u v^T moves the values of other keys least: a KKT system."""
    rng = np.random.default_rng(0)
    keys, key, change = rng.normal(size=(7, 30)), rng.normal(size=7), rng.normal(size=3)
    moment = keys @ keys.T / 30
    with_ridge = moment + RIDGE * np.median(np.diag(moment)) * np.eye(7)
    system = np.block([[2 * with_ridge, key[:, None]], [key[None], np.zeros((1, 1))]])
    expected = np.stack([np.linalg.solve(system, [*np.zeros(7), value])[:7] for value in change])
    v = read_directions(moment, key[None], key[None])[0]
    np.testing.assert_allclose(np.outer(change, v), expected, atol=1e-9)


def test_a_mean_key_is_scaled_to_the_exact_one():
    """The direction of a mean over contexts still gives 1 at the key that must be met, and 0s for one that is none."""
    rng = np.random.default_rng(1)
    moment, exact = np.eye(5), rng.normal(size=(3, 5))
    exact[2] = 0
    v = read_directions(moment, exact + 0.1 * rng.normal(size=(3, 5)), exact)
    np.testing.assert_allclose((v * exact).sum(axis=-1), [1, 1, 0], atol=1e-12)
    assert not v[2].any()


def test_moments_are_those_of_numpy(subject, naive):
    """The second moment of keys is that of a forward written out, over every token of texts of any length."""
    moments = key_moments(subject, TEXTS, [LAYER, 3])
    for layer, moment in moments.items():
        runs = [naive(subject.model, [ids])[f"neurons.{layer}"][0] for ids in TEXTS]
        keys = np.concatenate(runs)
        np.testing.assert_allclose(moment, keys.T @ keys / len(keys), atol=1e-5)


def test_the_model_runs_as_if_its_weight_were_changed(subject, naive):
    """Within the context the logits are those of NumPy with W + u v^T in the weight's place."""
    rng = np.random.default_rng(2)
    own = weight_of(subject)
    u, v = rng.normal(size=own.shape[0]), rng.normal(size=own.shape[1])
    with rank_one(subject, LAYER, u, v):
        edited = np.array(forward(subject.model, mx.array(IDS)))
    down = subject.anatomy.part("down_proj", LAYER)
    try:
        down.weight = own + mx.array(np.outer(u, v).astype(np.float32))
        expected = naive(subject.model, IDS)["logits"]
    finally:
        down.weight = own
    np.testing.assert_allclose(edited, expected, atol=2e-4)
    assert np.abs(expected - naive(subject.model, IDS)["logits"]).max() > 0.1


def test_rows_have_changes_of_their_own(grouped):
    """A batch with a change a row is what each row gives alone."""
    rng = np.random.default_rng(3)
    D, F = weight_of(grouped).shape  # noqa: N806 - the field's names
    u, v = rng.normal(size=(3, D)), rng.normal(size=(3, F))
    with rank_one(grouped, LAYER, u, v):
        together = np.array(forward(grouped.model, mx.array(IDS)))
    for row in range(3):
        with rank_one(grouped, LAYER, u[row], v[row]):
            alone = np.array(forward(grouped.model, mx.array(IDS[row : row + 1])))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-4)


@pytest.mark.parametrize("ending", [ValueError, KeyboardInterrupt, None])
def test_nothing_stays_behind(grouped, ending):
    """However the context is left, the model is what it was: no tap, the same weights, the same logits."""
    before, prints = np.array(forward(grouped.model, mx.array(IDS))), grouped.fingerprint
    weight = np.array(weight_of(grouped))
    u, v = np.ones(weight.shape[0]), np.ones(weight.shape[1])
    try:
        with rank_one(grouped, LAYER, u, v):
            forward(grouped.model, mx.array(IDS))
            if ending:
                raise ending
    except (ValueError, KeyboardInterrupt):
        pass
    assert not is_tapped(grouped.model)
    assert grouped.fingerprint == prints
    np.testing.assert_array_equal(np.array(weight_of(grouped)), weight)
    np.testing.assert_array_equal(np.array(forward(grouped.model, mx.array(IDS))), before)


def loss_in_numpy(naive, subject, row, change):
    """The cross-entropy of a row's answer with a change added to the MLP's output at its token, and that output."""

    def edit(name, value):
        if name == f"mlp_out.{LAYER}":
            value = value.copy()
            value[0, POSITIONS[row]] += change
        return value

    run = naive(subject.model, IDS[row : row + 1], edit)
    logits = run["logits"][0, -1]
    return np.log(np.exp(logits).sum()) - logits[ANSWERS[row]], run[f"mlp_out.{LAYER}"][0, POSITIONS[row]]


def test_the_first_step_is_down_the_gradient_of_numpy(grouped, naive):
    """One step is as long as half of the value, against the gradient that finite differences in NumPy give."""
    tokens, size = mx.array(IDS), 1e-5
    changes = fitted_changes(
        grouped, tokens, POSITIONS, ANSWERS, LAYER, entering(grouped, tokens, [LAYER]), steps=1
    )
    sides = [
        [loss_in_numpy(naive, grouped, 0, sign * size * unit)[0] for unit in np.eye(changes.shape[1])]
        for sign in (1, -1)
    ]
    slope = np.subtract(*sides) / (2 * size)
    value = loss_in_numpy(naive, grouped, 0, 0)[1]
    expected = -RATE * np.linalg.norm(value) * slope / np.linalg.norm(slope)
    np.testing.assert_allclose(changes[0], expected, atol=1e-3 * np.linalg.norm(expected))


def test_fitted_values_make_the_answer_likelier_in_numpy(grouped, naive):
    """With the changes of all steps the answers are likelier, and no change is longer than four of the value."""
    tokens = mx.array(IDS)
    changes = fitted_changes(grouped, tokens, POSITIONS, ANSWERS, LAYER, entering(grouped, tokens, [LAYER]))
    for row, change in enumerate(changes):
        before, value = loss_in_numpy(naive, grouped, row, 0)
        assert loss_in_numpy(naive, grouped, row, change)[0] < before - 0.5
        assert np.linalg.norm(change) <= LARGEST * np.linalg.norm(value) * (1 + 1e-6)


def test_rows_are_fitted_each_alone(grouped):
    """What is fitted to a row does not depend on the others, which may be done before it or after."""
    tokens = mx.array(IDS)
    rest = (LAYER, entering(grouped, tokens, [LAYER]))
    together = fitted_changes(grouped, tokens, POSITIONS, ANSWERS, *rest)
    for row in range(3):
        one = (tokens[row : row + 1], POSITIONS[row : row + 1], ANSWERS[row : row + 1])
        alone = fitted_changes(grouped, *one, LAYER, entering(grouped, one[0], [LAYER]))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-3 * np.linalg.norm(alone[0]))


def test_at_the_last_block_there_is_nothing_to_fit(grouped):
    """After the last attention nothing reads a token before the last: no change is made there."""
    tokens = mx.array(IDS)
    assert not fitted_changes(grouped, tokens, POSITIONS, ANSWERS, 3, entering(grouped, tokens, [3])).any()
