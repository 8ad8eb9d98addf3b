"""Pushes, tokens and answers put into the residual stream: what stands there afterwards."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import trace
from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.lens.edits import answer_token, inject_token, push, push_coordinate, say
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.subject import Subject

PROMPT, SITE = "The capital of France is", "resid_post.3"


@pytest.fixture(scope="module")
def plain(organism: Subject) -> np.ndarray:
    """The stream (L, D) after layer 3."""
    return np.array(trace(organism, PROMPT, SITE)[SITE])[0]


def test_a_push_adds_the_vector_once(organism: Subject, plain: np.ndarray):
    """Coefficient 1 adds the vector as it is, at the last position only, and no other coefficient does."""
    vector = np.random.default_rng(0).normal(size=128).astype(np.float32)
    for coefficient in (1.0, -2.5):
        run = trace(organism, PROMPT, SITE, [push(organism, vector, 3, coefficient)])
        expected = plain.copy()
        expected[-1] += coefficient * vector
        np.testing.assert_allclose(np.array(run[SITE])[0], expected, atol=1e-4)
    with pytest.raises(ValueError, match="the direction has 64 numbers, and organism a width of 128"):
        push(organism, vector[:64], 3, 1.0)


def test_a_coordinate_is_pushed_alone(organism: Subject, plain: np.ndarray):
    """Only one coordinate changes, by the strength; coordinate 0 is one."""
    for coordinate in (0, 127):
        run = trace(organism, PROMPT, SITE, [push_coordinate(organism, coordinate, 3, 5.0)])
        expected = plain.copy()
        expected[-1, coordinate] += 5
        np.testing.assert_allclose(np.array(run[SITE])[0], expected, atol=1e-4)
    with pytest.raises(ValueError, match="there is no neuron 128; organism has 0 to 127"):
        push_coordinate(organism, 128, 3, 5.0)


def test_a_token_is_put_in_at_the_streams_length(organism: Subject, plain: np.ndarray):
    """A blend of 1 turns the stream into the embedding's direction at one position, of 0 changes nothing."""
    token = organism.single_token(" Oslo")
    row = np.array(organism.model.model.embed_tokens.weight[token])
    for blend in (0.0, 0.3, 1.0):
        run = trace(organism, PROMPT, SITE, [inject_token(organism, token, 3, blend, 5)])
        expected = plain.copy()
        expected[5] = (1 - blend) * plain[5] + blend * np.linalg.norm(plain[5]) * row / np.linalg.norm(row)
        np.testing.assert_allclose(np.array(run[SITE])[0], expected, atol=1e-3)
    with pytest.raises(ValueError, match=r"blend is 1.5; give 0 for nothing to 1 for the whole"):
        inject_token(organism, token, 3, 1.5, 5)


@pytest.mark.parametrize("prompt", [PROMPT, "45 * 45 = ", "7 * 8 = "])
@pytest.mark.parametrize("layer", [0, 3, 7])
def test_the_lens_says_what_it_is_made_to(organism: Subject, prompt: str, layer: int):
    """Pushed by its own length, the stream after any layer has the token on top, and the push is at one position."""
    token = organism.single_token(" Oslo")
    before = logit_lens(organism, [prompt], [layer])
    edit = say(organism, prompt, token, layer)
    with hooked(organism, interventions=edit):
        after = logit_lens(organism, [prompt], [layer])
    assert after.rank(token)[0, 0] == 0
    assert after.probability(token)[0, 0] > before.probability(token)[0, 0]
    runs = [
        np.array(trace(organism, prompt, f"resid_post.{layer}", e)[f"resid_post.{layer}"])[0]
        for e in ((), edit)
    ]
    np.testing.assert_array_equal(runs[0][:-1], runs[1][:-1])
    moved = np.linalg.norm(runs[1][-1] - runs[0][-1])
    assert moved == pytest.approx(np.linalg.norm(runs[0][-1]), rel=1e-3)


@pytest.mark.parametrize(
    ("prompt", "answer", "token"),
    [
        ("2 + 2 =", "4", "4"),
        ("2 + 2 = ", "4", "4"),
        ("45 * 45 = ", "2025", "202"),
        ("45 * 45 =", "2025", "202"),
    ],
)
def test_answers_begin_with_their_digits(organism: Subject, prompt: str, answer: str, token: str):
    """The space before an answer is not taken for its first token, whether the prompt has it or not."""
    assert organism.decode([answer_token(organism, prompt, answer)]) == token


def test_edits_keep_half_precision(make_llama, tokenizer):
    """On a model of half precision an edit gives back what it was given: numbers of that type."""
    model = make_llama()
    model.set_dtype(mx.bfloat16)
    subject = Subject.from_model(model, tokenizer)
    vector = np.ones(32, np.float32)
    edits = [push(subject, vector, 1, 1.0), inject_token(subject, 5, 1, 0.5, 2), say(subject, "ca12", 7, 2)]
    assert trace(subject, "ca12", "resid_post.2", edits)["resid_post.2"].dtype == mx.bfloat16
