"""Steering, against the edit made by hand, a planted direction, and a model that knows nothing."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.introspection.steering.control_directions import random_directions, shuffled_directions
from lazarus_probe.introspection.steering.steer import Behaviour, steering
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject import Subject

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONTROLS = ("random_direction", "shuffled_labels", "other_classes", "unsteered")
SCORE = {"kind": "causal_sufficiency", "threshold": 0.5, "margin": 0.25, "minimum_groups": 5}
CLAIM = Claim(id="test", statement="a", source="b", controls=CONTROLS, **SCORE)


def silenced(make_llama):
    """A model of 4 blocks that do nothing, whose norms divide by the size alone."""
    model = make_llama(0, hidden_size=32, vocab_size=64, tie_word_embeddings=False)

    def silent(name, value):
        if "norm" in name:
            return mx.ones_like(value)
        return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value

    model.update(tree_map_with_path(silent, model.parameters()))
    return model


def says(tokenizer, head, letter, weights):
    head[tokenizer.encode(letter, add_special_tokens=False)[0]] = weights


@pytest.fixture(scope="module")
def planted(make_llama, tokenizer):
    """Says `b` after the first half of the letters and `a` after the others: one direction of the embedding decides."""
    model, rng = silenced(make_llama), np.random.default_rng(0)
    table, head = 0.3 * rng.normal(size=(64, 32)), 0.05 * rng.normal(size=(64, 32))
    for i, letter in enumerate(LETTERS):
        table[tokenizer.encode(letter, add_special_tokens=False)[0], 0] = 2 if i < 13 else -2
    for letter, sign in (("b", 1), ("a", -1)):
        says(tokenizer, head, letter, 4 * sign * np.eye(32)[0])
    model.model.embed_tokens.weight = mx.array(table.astype(np.float32))
    model.lm_head.weight = mx.array(head.astype(np.float32))
    return Subject.from_model(model, tokenizer, "planted")


@pytest.fixture(scope="module")
def startled(make_llama, tokenizer):
    """Says `b` where two coordinates, in which all letters differ, are large either way; else `a`, from a constant.

    So a push along what prompts differ in makes it say `b`, whatever the push is; a random one hardly touches the two.
    """
    model, rng = silenced(make_llama), np.random.default_rng(0)
    table, head = 0.1 * rng.normal(size=(64, 32)), np.zeros((64, 32))
    table[:, 2] = 4
    for i, letter in enumerate(LETTERS):
        angle, size = rng.uniform(-1, 1), 3.0 if i < 13 else 0.3
        row = table[tokenizer.encode(letter, add_special_tokens=False)[0]]
        row[:2] = size * np.cos(angle), size * np.sin(angle)
    says(tokenizer, head, "a", 6 * np.eye(32)[2])
    says(tokenizer, head, "b", 4 * np.eye(32)[3])
    # After block 2 coordinate 3 is what two pairs of neurons make of the first two: silu(x) x adds up over both signs.
    mlp = model.model.layers[2].mlp
    gate, down = np.zeros(mlp.gate_proj.weight.shape), np.zeros(mlp.down_proj.weight.shape)
    for neuron, (coordinate, sign) in enumerate([(0, 1), (0, -1), (1, 1), (1, -1)]):
        gate[neuron, coordinate], down[3, neuron] = sign, 1.5
    mlp.gate_proj.weight = mlp.up_proj.weight = mx.array(gate.astype(np.float32))
    mlp.down_proj.weight = mx.array(down.astype(np.float32))
    model.model.embed_tokens.weight = mx.array(table.astype(np.float32))
    model.lm_head.weight = mx.array(head.astype(np.float32))
    return Subject.from_model(model, tokenizer, "startled")


@pytest.fixture(scope="module")
def behaviour():
    """Saying `b`, for pairs of letters that are and are not followed by it; digits and signs are other kinds."""
    shown, plain = (
        [first + last for first in "mqz" for last in side] for side in (LETTERS[:13], LETTERS[13:])
    )
    others = ((list("02468"), list("13579")), (["+", "*"], ["=", "."]))
    return Behaviour(shown, plain, shown, plain, lambda text: text == "b", max_tokens=1, others=others)


def test_the_planted_direction_turns(planted, behaviour):
    """The direction that decides turns prompts it was not taken on, and no control of its norm does."""
    assert behaviour.rates(planted) == (1, 0)
    found = steering(planted, behaviour, layer=1, strength=2)
    assert found.score == 1
    assert {control.name: control.score < 0.25 for control in found.controls} == dict.fromkeys(CONTROLS, True)
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED
    assert (found.n, found.groups) == (20, 20)


def test_a_push_of_any_kind_is_confounded(startled, behaviour):
    """Where any push along what prompts differ in turns them, shuffled labels show it and random directions do not."""
    shown, plain = behaviour.rates(startled)
    assert shown > 0.9
    assert plain == 0
    found = steering(startled, behaviour, layer=1, strength=2)
    by_name = {control.name: control for control in found.controls}
    assert found.score > 0.9
    assert by_name["random_direction"].score < 0.1
    assert by_name["shuffled_labels"].score > 0.9
    assert judge(CLAIM, found).outcome is Outcome.CONFOUNDED
    blind = CLAIM.model_copy(update={"controls": ("random_direction", "unsteered")})
    without = replace(found, controls=tuple(by_name[name] for name in blind.controls))
    assert judge(blind, without).outcome is Outcome.SUPPORTED


def test_a_verdict_says_how_far_the_push_went(planted, behaviour):
    """Past the other class's mean the verdict says so and how far; short of it, it does not."""
    far, near = (steering(planted, behaviour, layer=1, strength=strength) for strength in (2, 0.9))
    assert far.details["way_to_other_mean"] == pytest.approx(2, abs=0.1)
    assert far.counted == "share of the prompts turned on pushes 2.0 times as far as the other class's mean"
    assert far.counted in judge(CLAIM, far).reason
    assert near.details["way_to_other_mean"] == pytest.approx(0.9, abs=0.1)
    assert near.counted == "share of the prompts turned"
    assert far.details["turned_at_other_mean"] == near.score == 1


def test_no_strength_turns_nothing(planted, behaviour):
    """Added zero times, the direction is the unsteered model, and does no damage."""
    found = steering(planted, behaviour, layer=1, strength=0)
    assert found.score == 0
    assert judge(CLAIM, found).outcome is Outcome.REFUTED
    assert found.damage.score == 0


def test_shuffled_directions_leave_out_what_tells_the_kinds_apart():
    """Kinds of unequal size that differ in one coordinate give directions without it, of the norm that was wanted."""
    rng = np.random.default_rng(0)
    states = [
        np.concatenate([np.full((count, 1), value), rng.normal(size=(count, 5))], axis=1)
        for count, value in ((9, 50.0), (4, -50.0))
    ]
    units = [[str(i) for i in range(len(rows))] for rows in states]
    drawn = shuffled_directions(states, units, norm=3.0, count=20, seed=1)
    np.testing.assert_allclose(drawn[:, 0], 0, atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 3.0)
    assert len(np.unique(drawn[:, 1].round(9))) == 20
    with pytest.raises(ValueError, match="1 independent units; give at least 2"):
        shuffled_directions(states, [["x"] * 9, units[1]], 3.0, 2)


def test_a_direction_of_a_kind_that_sometimes_turns_everything_gains_nothing():
    """Null: where the claimed direction is one of its controls' kind, a gain of .25 is found in at most 5% of draws."""
    alarms, draws = 0, 400
    for seed in range(draws):
        rng = np.random.default_rng(seed)
        lucky = rng.random(8) < rng.choice([0.1, 0.125, 0.2, 0.5])
        rows = np.repeat(lucky[:, None], 30, axis=1).astype(float)
        control = rate(
            "turned", rows[0], [str(i) for i in range(30)], {"other": rows[1:]}, seed=seed
        ).controls[0]
        alarms += control.low >= 0.25
    assert (
        alarms / draws <= 0.07
    )  # the exact bound is .049, and .07 the 97.5th percentile of 400 draws at that


def test_random_directions_have_its_norm():
    """The controls are as long as the direction, differ, and have nothing to do with it."""
    direction = np.arange(400.0)
    drawn = random_directions(direction, 20, seed=1)
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), np.linalg.norm(direction))
    cosines = drawn @ direction / np.linalg.norm(direction) ** 2
    assert np.abs(cosines).max() < 0.25
    assert len(np.unique(drawn[:, 0])) == 20


def test_an_untrained_model_is_not_turned(behaviour):
    """In untrained models, for a behaviour they do not have, no direction is supported."""
    for seed in range(3):
        subject = Subject.load("organism").untrained(20 + seed)
        found = steering(subject, behaviour, layer=4, strength=2, seed=seed)
        assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED


def test_too_few_units_are_refused(planted):
    """Without a half to take the direction on, nothing is measured."""
    few = Behaviour(["a", "b"], list("xyzw"), ["1", "2"], list("xyzw"), bool, 1)
    with pytest.raises(ValueError, match="2 independent units; give at least 4"):
        steering(planted, few, 1, 1)
