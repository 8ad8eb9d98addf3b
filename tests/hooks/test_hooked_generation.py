"""Hooks while a KV cache feeds the sequence in pieces, against forwards of the whole sequence."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import new_cache
from lazarus_probe.hooks import HookError, hooked, trace
from lazarus_probe.interventions import steer, zero
from tests.tolerance import assert_close, of_logits, sole_best

PROMPT = [3, 5, 7, 11]
DIRECTION = 3 * np.random.default_rng(0).normal(size=32)


def generate(subject, steps):
    """Greedy tokens with the model's cache."""
    cache, tokens, new = new_cache(subject.model), mx.array([PROMPT]), []
    for _ in range(steps):
        new.append(mx.argmax(subject.model(tokens, cache=cache)[0, -1]).item())
        tokens = mx.array([[new[-1]]])
    return new


def generate_by_hand(subject, naive, steps, edit):
    """Greedy tokens by a hand-written forward of the whole sequence at every step."""
    tokens = list(PROMPT)
    for _ in range(steps):
        logits = naive(subject.model, [tokens], edit)["logits"][0, -1]
        tokens.append(sole_best(logits, of_logits(subject, logits)))
    return tokens[len(PROMPT) :]


@pytest.mark.parametrize("site", ["resid_post.1", "attn_out.2", "mlp_out.0"])
@pytest.mark.parametrize("position", ["all", 2, 3, 4, 6])
def test_generation_with_an_edit_is_the_loop_without_a_cache(subject, naive, site, position):
    """Under a cache an edit at a position, given or yet to come, gives the tokens of full forwards."""

    def edit(at, value):
        if at == site:
            chosen = np.arange(value.shape[1]) == position if position != "all" else np.ones(value.shape[1])
            value = value + np.where(chosen, 1.0, 0.0)[:, None] * DIRECTION
        return value

    with hooked(subject, (), steer(site, DIRECTION, positions=position)):
        found = generate(subject, 8)
    assert found == generate_by_hand(subject, naive, 8, edit)
    if position == "all":
        assert found != generate(subject, 8)


def test_values_of_the_steps_are_joined_to_those_of_a_forward(grouped):
    """Captures over a generation, joined, are the captures of one forward of what was generated."""
    sites = ["resid_post.2", "head_out.1", "logits"]
    with hooked(grouped, sites) as captures:
        new = generate(grouped, 5)
    whole = trace(grouped, [PROMPT + new[:-1]], sites)
    for site in sites:
        assert len(captures.calls(site)) == 5
        assert_close(grouped, captures[site], whole[site], site)


def test_a_prompt_in_chunks_is_the_whole_prompt(grouped):
    """A position counts from the start of the sequence, whichever chunk holds it."""
    tokens = mx.array([[3, 5, 7, 11, 13, 17]])
    expected = trace(grouped, tokens, "resid_post.1", steer("resid_post.1", DIRECTION, positions=4), [1, 4])
    cache = new_cache(grouped.model)
    with hooked(grouped, "resid_post.1", steer("resid_post.1", DIRECTION, positions=4), [1, 4]) as captures:
        grouped.model(tokens[:, :3], cache=cache)
        logits = grouped.model(tokens[:, 3:], cache)  # a cache given by position counts as well
    assert_close(grouped, logits, expected.logits[:, 3:])
    assert_close(grouped, captures["resid_post.1"], expected["resid_post.1"])


def test_patterns_of_steps_grow_and_are_read_one_by_one(grouped):
    """Under a cache a step's pattern has one query, and as many keys as the sequence is long."""
    with hooked(grouped, "pattern.1") as captures:
        generate(grouped, 3)
    assert [value.shape for value in captures.calls("pattern.1")] == [
        (1, 4, 4, 4),
        (1, 4, 1, 5),
        (1, 4, 1, 6),
    ]


def test_a_position_generation_does_not_reach_is_an_error(grouped):
    """An edit at a position past the last generated token fails at the end of the context."""
    with (
        pytest.raises(HookError, match=r"zero at embed met nothing at position 9: .* ended at position 5"),
        hooked(grouped, (), zero("embed", 9)),
    ):
        generate(grouped, 3)
