"""Pushes in batches, against a naive loop of one prompt and one push at a time."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.steering.vectors import (
    POSITIONS,
    SteeringVectors,
    multiples,
    steered_completions,
    steered_next_tokens,
)
from lazarus_probe.subject import Subject
from tests.architectures import zoo

pytestmark = pytest.mark.usefixtures("no_ties")

PROMPTS = ["12 + 3 = ", "cat", "a b c"]
ARCHITECTURES = ("gpt_oss", "gemma3n", "llama_4bit")


def vectors(width, count=3, seed=1):
    """Vectors that are large enough to change what is said."""
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32) * 3


def where(position, length):
    """The positions of an intervention that acts alone."""
    return {"last": length - 1, "onward": "last", "all": "all"}[position]


def assert_as_alone(subject, prompts, layer, position):
    """Texts and log probabilities are those of each prompt under each vector, run by itself."""
    steering = SteeringVectors(layer, vectors(subject.anatomy.hidden_size), position)
    completions = steered_completions(subject, prompts, steering, 4)
    metrics = steered_next_tokens(
        subject, prompts, steering, lambda after, before: {"top": after.max(-1), "was": before.max(-1)}
    )
    changed = 0
    for p, prompt in enumerate(prompts):
        ids = subject.encode(prompt)
        plain = trace(subject, prompt).logits[0, -1].astype(mx.float32)
        for k, vector in enumerate(steering.vectors):
            edit = steer(resid_post(layer), vector, positions=where(position, len(ids)))
            text = greedy_completions(subject, [prompt], [edit], 4)[0]
            assert completions[p][k].text == text
            changed += text != greedy_completions(subject, [prompt], max_tokens=4)[0]
            logits = trace(subject, prompt, interventions=[edit]).logits[0, -1].astype(mx.float32)
            for name, row in (("top", logits), ("was", plain)):
                expected = (row.max() - mx.logsumexp(row)).item()
                assert metrics[name][p, k] == pytest.approx(expected, abs=2e-3)
    assert changed


@pytest.mark.parametrize("position", POSITIONS)
def test_a_batch_of_vectors_is_each_alone(grouped, position):
    """Many prompts under many vectors say what a loop of single runs says, at every kind of position."""
    assert_as_alone(grouped, PROMPTS, 0, position)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_are_steered_too(name, tokenizer):
    """Windows, shared keys, several streams and 4-bit weights: a batch still is each run alone."""
    assert_as_alone(Subject.from_model(zoo.build(name), tokenizer, name), PROMPTS[:2], 1, "onward")


def test_a_vector_of_zeros_is_the_model_as_it_is(grouped):
    """A vector of zeros changes nothing, and prompts keep their draws under every vector."""
    steering = SteeringVectors(2, multiples(np.ones(32), [0.0, 0.0]))
    row = steered_completions(grouped, ["a b c"], steering, 5, temperature=3.0, seed=1)[0]
    assert row[0] == row[1]
    plain = steered_completions(grouped, PROMPTS, steering, 4)
    assert [one[0].text for one in plain] == greedy_completions(grouped, PROMPTS, max_tokens=4)


def test_vectors_that_do_not_fit_are_refused(grouped):
    """Another width fits no model, and an unknown position is refused."""
    with pytest.raises(ValueError, match="7 numbers and grouped has a width of 32"):
        steered_completions(grouped, ["a"], SteeringVectors(0, np.ones((1, 7), np.float32)), 1)
    with pytest.raises(ValueError, match="position 'first' is unknown"):
        SteeringVectors(0, np.ones((1, 32), np.float32), "first")
