"""Pushes in batches, against a naive loop of one prompt and one push at a time."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.interventions import steer
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.steering.pushes import (
    POSITIONS,
    Pushes,
    contrast,
    multiples,
    pushed,
    readings,
)
from lazarus_probe.introspection.steering.steer import difference_of_means
from lazarus_probe.subject import Subject

sys.path.insert(0, str(Path(__file__).parents[2] / "architectures"))
import zoo

pytestmark = pytest.mark.usefixtures("no_ties")

PROMPTS = ["12 + 3 = ", "cat", "a b c"]
ARCHITECTURES = ("gpt_oss", "gemma3n", "llama_4bit")


def vectors(width, count=3, seed=1):
    """Pushes that are large enough to change what is said."""
    return np.random.default_rng(seed).normal(size=(count, width)).astype(np.float32) * 3


def where(position, length):
    """The positions of an intervention that acts alone."""
    return {"last": length - 1, "onward": "last", "all": "all"}[position]


def assert_as_alone(subject, prompts, layer, position):
    """Texts and log probabilities are those of each prompt under each push, run by itself."""
    pushes = Pushes(layer, vectors(subject.anatomy.hidden_size), position)
    said = pushed(subject, prompts, pushes, 4)
    found = readings(
        subject, prompts, pushes, lambda after, before, _: {"top": after.max(-1), "was": before.max(-1)}
    )
    changed = 0
    for p, prompt in enumerate(prompts):
        ids = subject.encode(prompt)
        plain = trace(subject, prompt).logits[0, -1].astype(mx.float32)
        for k, vector in enumerate(pushes.vectors):
            edit = steer(resid_post(layer), vector, positions=where(position, len(ids)))
            text = greedy_completions(subject, [prompt], [edit], 4)[0]
            assert said[p][k].text == text
            changed += text != greedy_completions(subject, [prompt], max_tokens=4)[0]
            logits = trace(subject, prompt, interventions=[edit]).logits[0, -1].astype(mx.float32)
            for name, row in (("top", logits), ("was", plain)):
                expected = (row.max() - mx.logsumexp(row)).item()
                assert found[name][p, k] == pytest.approx(expected, abs=2e-3)
    assert changed


@pytest.mark.parametrize("position", POSITIONS)
def test_a_batch_of_pushes_is_each_alone(grouped, position):
    """Many prompts under many pushes say what a loop of single runs says, at every kind of position."""
    assert_as_alone(grouped, PROMPTS, 0, position)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_are_pushed_too(name, tokenizer):
    """Windows, shared keys, several streams and 4-bit weights: a batch still is each run alone."""
    assert_as_alone(Subject.from_model(zoo.build(name), tokenizer, name), PROMPTS[:2], 1, "onward")


def test_no_push_is_the_model_as_it_is(grouped):
    """A push of 0 changes nothing, and prompts keep their draws under every push."""
    pushes = Pushes(2, multiples(np.ones(32), [0.0, 0.0]))
    row = pushed(grouped, ["a b c"], pushes, 5, temperature=3.0, seed=1)[0]
    assert row[0] == row[1]
    plain = pushed(grouped, PROMPTS, pushes, 4)
    assert [one[0].text for one in plain] == greedy_completions(grouped, PROMPTS, max_tokens=4)


def test_the_contrast_is_the_difference_of_means(grouped):
    """A direction is the difference of mean states after its block; its keys are NumPy's numbers."""
    first, second = ["a b", "cat ", "12"], ["Paris", "b"]
    found = contrast(grouped, first, second, 0, name="n", label_positive="x", label_negative="y")
    site = resid_post(0)
    np.testing.assert_allclose(found.vector, difference_of_means(grouped, first, second, site), atol=1e-5)
    one, two = (collect(grouped, side, [site])[site].mean(0) for side in (first, second))
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    assert found.extra["cosine_similarity"] == pytest.approx(float(cosine), abs=1e-5)
    assert found.extra["norm"] == pytest.approx(float(np.linalg.norm(one - two)), rel=1e-5)
    assert (found.layer, found.name, found.label_positive, found.label_negative) == (0, "n", "x", "y")
    assert found.extra["positive_prompt"] == first


def test_what_cannot_be_pushed_is_named(grouped):
    """Equal sides have no direction, another width fits no model, and an unknown position is refused."""
    with pytest.raises(ValueError, match="same mean state"):
        contrast(grouped, ["a b"], ["a b"], 1)
    streams = replace(grouped, anatomy=replace(grouped.anatomy, stream_axis=2))
    with pytest.raises(ValueError, match="several residual streams"):
        contrast(streams, ["a"], ["b"], 1)
    with pytest.raises(ValueError, match="7 numbers and grouped has a width of 32"):
        pushed(grouped, ["a"], Pushes(0, np.ones((1, 7), np.float32)), 1)
    with pytest.raises(ValueError, match="position 'first' is unknown"):
        Pushes(0, np.ones((1, 32), np.float32), "first")
