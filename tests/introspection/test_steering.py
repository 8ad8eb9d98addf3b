"""Steering, against the edit made by hand, a planted direction, and a model that knows nothing."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.ablation import answers
from lazarus_probe.introspection.steering import (
    Behaviour,
    difference_of_means,
    random_directions,
    steered,
    steering,
)
from lazarus_probe.subject import Subject
from tests.tolerance import of_logits, sole_best

LETTERS = "abcdefghijklmnopqrstuvwxyz"
CONTROLS = ("random_direction", "unsteered")
SCORE = {"kind": "causal_sufficiency", "threshold": 0.5, "margin": 0.25, "minimum_groups": 5}
CLAIM = Claim(id="test", statement="a", source="b", controls=CONTROLS, **SCORE)


@pytest.fixture(scope="module")
def planted(make_llama, tokenizer):
    """Says `b` after the first half of the letters and `a` after the others: one direction of the embedding decides."""
    model = make_llama(0, hidden_size=32, vocab_size=64, tie_word_embeddings=False)

    def silent(name, value):
        if "norm" in name:
            return mx.ones_like(value)
        return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value

    model.update(tree_map_with_path(silent, model.parameters()))
    rng = np.random.default_rng(0)
    table, head = 0.3 * rng.normal(size=(64, 32)), 0.05 * rng.normal(size=(64, 32))
    for i, letter in enumerate(LETTERS):
        table[tokenizer.encode(letter, add_special_tokens=False)[0], 0] = 2 if i < 13 else -2
    for letter, sign in (("b", 1), ("a", -1)):
        head[tokenizer.encode(letter, add_special_tokens=False)[0]] = 4 * sign * np.eye(32)[0]
    model.model.embed_tokens.weight = mx.array(table.astype(np.float32))
    model.lm_head.weight = mx.array(head.astype(np.float32))
    return Subject.from_model(model, tokenizer, "planted")


@pytest.fixture(scope="module")
def behaviour():
    """Saying `b`, for letters that are and are not followed by it."""
    shown, plain = list(LETTERS[:13]), list(LETTERS[13:])
    return Behaviour(shown, plain, shown, plain, lambda text: text == "b", max_tokens=1)


def test_the_planted_direction_turns(planted, behaviour):
    """The direction that decides turns prompts it was not taken on, and random ones of its norm do not."""
    assert behaviour.rates(planted) == (1, 0)
    found = steering(planted, behaviour, layer=1, strength=2)
    assert found.score == 1
    assert [control.score < 0.5 for control in found.controls] == [True, True]
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED
    assert (found.n, found.groups) == (7, 7)


def test_no_strength_turns_nothing(planted, behaviour):
    """Added zero times, the direction is the unsteered model."""
    found = steering(planted, behaviour, layer=1, strength=0)
    assert found.score == 0
    assert judge(CLAIM, found).outcome is Outcome.REFUTED


def test_the_direction_is_the_difference_by_hand(grouped):
    """The direction is the difference of two means of plain traces at the last token."""
    site = Site("resid_post", 1)
    first, second = ["1 + 2", "cab", "7 * 8 ="], ["2", "car a"]
    rows = {text: np.array(trace(grouped, text, capture=site)[site])[0, -1] for text in (*first, *second)}
    expected = np.mean([rows[t] for t in first], 0) - np.mean([rows[t] for t in second], 0)
    np.testing.assert_allclose(difference_of_means(grouped, first, second, site), expected, atol=1e-4)


def test_a_push_is_added_once(grouped):
    """The first token said is that of one run with the push at its last position, and pushing by 0 does nothing."""
    site, push = Site("resid_post", 1), 5 * np.random.default_rng(0).normal(size=32).astype(np.float32)
    prompts = ["1 + 2", "cab", "7 * 8 =", "car a"]
    said = steered(grouped, prompts, push, site, 1)
    for prompt, text in zip(prompts, said, strict=True):
        logits = trace(grouped, prompt, interventions=steer(site, push, positions=-1)).logits[0, -1]
        token = sole_best(np.array(logits), of_logits(grouped, np.array(logits)))
        expected = "" if token in grouped.eos_token_ids else grouped.decode([token])
        assert text.strip() == expected.strip()
    assert steered(grouped, prompts, 0 * push, site, 4) == answers(grouped, prompts, max_tokens=4)


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
    with pytest.raises(ValueError, match="2 independent units of a kind; give at least 4"):
        steering(planted, few, 1, 1)
