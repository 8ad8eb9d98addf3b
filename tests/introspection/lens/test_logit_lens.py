"""The logit lens, against the model's logits and against a tail written out by hand."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import log_softmax

from lazarus_probe.hooks import replay, trace
from lazarus_probe.introspection.lens.logit_lens import logit_lens

PROMPTS = ["12 + 5 = ", "Paris", "a cat sat."]


def test_the_last_layer_is_the_models_prediction(subject):
    """After the last layer the lens gives the model's own distribution over the next token."""
    lens = logit_lens(subject, PROMPTS, [-1])
    for row, prompt in enumerate(PROMPTS):
        expected = log_softmax(np.array(trace(subject, prompt).logits[0, -1]).astype(np.float64))
        assert np.allclose(lens.log_probs[row, 0], expected, atol=1e-5)


def test_the_tail_is_the_models_bit_for_bit(subject):
    """Replaying a batch of last residuals in the shape they came in gives the logits without any error."""
    run = trace(subject, [[3, 5, 7], [2, 4, 6]], "resid_post.3")
    assert mx.array_equal(replay(subject, run["resid_post.3"]), run.logits)


@pytest.mark.parametrize("position", ["last", 1, [3, 0, -1]])
def test_every_layer_is_the_tail_of_its_residuals(grouped, naive, position):
    """After each layer the lens is final norm and unembedding of that layer's residual stream."""
    weights = [
        np.array(w, np.float64) for w in (grouped.model.model.norm.weight, grouped.model.lm_head.weight)
    ]
    lens = logit_lens(grouped, PROMPTS, [0, 2, -1], position)
    assert lens.layers == (0, 2, 3)
    for row, prompt in enumerate(PROMPTS):
        seen = naive(grouped.model, [grouped.encode(prompt)])
        place = -1 if position == "last" else position if position == 1 else position[row]
        for column, layer in enumerate(lens.layers):
            h = seen[f"resid_post.{layer}"][0, place]
            logits = h / np.sqrt((h**2).mean() + 1e-5) * weights[0] @ weights[1].T
            assert np.allclose(lens.log_probs[row, column], log_softmax(logits), atol=1e-4)


def test_probability_rank_and_top_tokens_agree_with_the_distribution(grouped):
    """The helpers are what sorting and exponentiating the distribution gives, for one or many tokens."""
    lens = logit_lens(grouped, PROMPTS)
    assert lens.log_probs.shape == (3, 4, 64)
    assert lens.log_probs.dtype == np.float32
    assert np.allclose(np.exp(lens.log_probs).sum(-1), 1, atol=1e-5)
    order = np.argsort(-lens.log_probs, axis=-1)
    assert np.array_equal(lens.top_tokens(5), order[..., :5])
    tokens = [7, 3, 60]
    for row, token in enumerate(tokens):
        assert np.allclose(lens.probability(tokens)[row], np.exp(lens.log_probs[row, :, token]))
        assert np.array_equal(lens.rank(tokens)[row], np.argwhere(order[row] == token)[:, 1])
    assert np.array_equal(lens.rank(7)[0], lens.rank(tokens)[0])
    assert np.array_equal(lens.rank(lens.top_tokens()[:, 2, 0])[:, 2], [0, 0, 0])


def test_an_untrained_model_knows_nothing(grouped):
    """Null: in untrained models the probability of a fixed token is on average that of any other."""
    found = [logit_lens(grouped.untrained(seed), PROMPTS).probability(7).mean() for seed in range(5)]
    assert 0.5 / 64 < np.mean(found) < 2 / 64


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), ValueError, "no prompts to batch"),
        ((PROMPTS, []), ValueError, "no layers to read"),
        ((PROMPTS, [4]), IndexError, "layer 4 of resid_post.4 is out of range"),
        ((PROMPTS, [0], "mean"), ValueError, "the lens reads one position"),
        ((PROMPTS, [0], 30), IndexError, "prompt 0: position 30 is out of range"),
    ],
)
def test_what_the_lens_cannot_read_is_refused(grouped, arguments, error, message):
    """No prompts, no layers, and places that do not exist are errors."""
    with pytest.raises(error, match=message):
        logit_lens(grouped, *arguments)


def test_tokens_that_do_not_fit_are_refused(grouped):
    """A token outside the vocabulary, and one token too few, are errors."""
    lens = logit_lens(grouped, PROMPTS, [0])
    with pytest.raises(ValueError, match="token id 64 is outside the vocabulary, 0 to 63"):
        lens.rank(64)
    with pytest.raises(ValueError, match="2 tokens for 3 prompts"):
        lens.probability([1, 2])
