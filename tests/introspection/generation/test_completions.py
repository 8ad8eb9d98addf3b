"""Generation, against the plain greedy loop, a softmax by hand, and rows run one by one."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.interventions import scale
from lazarus_probe.introspection.generation.completions import _drawn, generate, same_answer, started
from lazarus_probe.subject.generate import greedy

pytestmark = pytest.mark.usefixtures("no_ties")

PROMPTS = ["12 + 3 = ", "cat", "a b c", "Paris", "12 + 4 = "]


def test_greedy_is_the_plain_loop(subject):
    """Without a temperature the texts are those of `greedy`, and tokens and texts agree."""
    found = generate(subject, PROMPTS, 5)
    assert [one.text for one in found] == greedy(subject, PROMPTS, 5)
    assert all(one.probabilities is None and len(one.tokens) <= 5 for one in found)
    assert all(one.ended or len(one.tokens) == 5 for one in found)


def test_probabilities_are_those_of_the_plain_forward(grouped):
    """Each token's probability is the softmax of the whole sequence's logits before it."""
    (found,) = generate(grouped, ["a b c"], 4, probabilities=True)
    prompt = grouped.encode("a b c")
    logits = forward(grouped.model, mx.array([[*prompt, *found.tokens]]))[0]
    rows = np.array(mx.softmax(logits, axis=-1))[len(prompt) - 1 :]
    expected = [rows[i, token] for i, token in enumerate(found.tokens)]
    np.testing.assert_allclose(found.probabilities, expected, rtol=1e-4)


def test_draws_depend_on_seed_and_stream_alone(grouped):
    """A prompt's draws are the same in any batch, the same for one stream, and others for another seed."""
    sampled = {"temperature": 5.0, "seed": 3}
    whole = generate(grouped, PROMPTS, 6, **sampled)
    alone = generate(grouped, PROMPTS[3:4], 6, **sampled, streams=[3])
    assert alone[0] == whole[3]
    twice = generate(grouped, ["cat", "cat", "cat"], 6, **sampled, streams=[0, 0, 1])
    assert twice[0] == twice[1] != twice[2]
    assert generate(grouped, PROMPTS, 6, temperature=5.0, seed=4) != whole
    assert generate(grouped, PROMPTS, 6, temperature=1e-4) == generate(grouped, PROMPTS, 6)


def test_draws_have_the_model_s_distribution():
    """Tokens come as often as the softmax at the temperature says, and never one of probability 0."""
    logits = np.log(np.array([0.5, 0.2, 0.0, 0.3]) + 1e-30).astype(np.float32)
    draws = np.random.default_rng(0).random(20_000)
    found = _drawn(np.tile(logits, (len(draws), 1)), 2.0, draws)
    weights = np.sqrt([0.5, 0.2, 0.0, 0.3])
    shares = np.bincount(found, minlength=4) / len(draws)
    np.testing.assert_allclose(shares, weights / weights.sum(), atol=0.01)
    assert shares[2] == 0
    assert _drawn(logits[None], 1.0, np.array([0.0]))[0] == 0
    assert _drawn(logits[None], 1.0, np.array([np.nextafter(1, 0)]))[0] == 3


def test_a_shared_start_changes_nothing(subject):
    """Rows of one prompt whose start is run once say what they say alone, under an edit of the last position."""
    prompts = ["a b c"] * 3 + ["12 + 3 = "] * 2 + ["P"]

    def edits(_, length):
        return [scale("resid_post.1", 3.0, positions=length - 1)]

    plain, shared = (
        generate(subject, prompts, 4, edits=edits, shared=way, probabilities=True) for way in (False, True)
    )
    for one, two in zip(plain, shared, strict=True):
        assert one.tokens == two.tokens
        np.testing.assert_allclose(one.probabilities, two.probabilities, rtol=1e-3)
    assert generate(subject, prompts, 4) != generate(subject, prompts, 4, edits=edits)
    cache, left = started(subject, mx.array([[1, 2, 3]] * 4), shared=True)
    assert left.shape == (4, 1)
    assert cache[0].keys.shape[0] == 4


def test_what_cannot_be_generated_is_named(grouped):
    """No tokens, a temperature below 0 or none, and no prompts are errors."""
    for arguments, message in (
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"max_tokens": 1, "temperature": -1.0}, "temperature is -1"),
        ({"max_tokens": 1, "temperature": float("nan")}, "temperature is nan"),
        ({"prompts": [], "max_tokens": 1}, "no prompts"),
    ):
        with pytest.raises(ValueError, match=message):
            generate(grouped, **{"prompts": ["a"], **arguments})


@pytest.mark.parametrize(
    ("one", "two", "same"),
    [(" 2,209", "2209.", True), ("100", "1000", False), ("Paris", " Paris ", True), ("7", "seven", False)],
)
def test_answers_are_compared_as_numbers_where_they_are(one, two, same):
    """Numbers are compared by value, all else as text without the spaces around it."""
    assert same_answer(one, two) is same
