"""A prefix that prompts share is run once, and changes no value that is asked for."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import hooked
from lazarus_probe.hooks.activations import OF_ITS_POSITION, collect
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.subject.shared_prefix import run_shared_prefix, shared_length

EXAMPLES = [0, *range(3, 15)]
PROMPTS = [[*EXAMPLES, *end] for end in ([7, 2, 9], [2, 4, 1], [7, 5, 3], [8, 6])]


@pytest.mark.parametrize("at", ["last", -2, [12, 13, 14, 13], [[12, 14], [13, 14], [12, 13], [12, 13]]])
def test_values_are_those_of_each_prompt_alone(subject, at):
    """At every site whose values are shared, of prompts of two lengths, as in a run of the whole prompt."""
    sites = [Site(kind, None if kind in ("embed", "logits") else 2) for kind in OF_ITS_POSITION]
    together = collect(subject, PROMPTS, sites, at)
    for row, prompt in enumerate(PROMPTS):
        place = at if isinstance(at, str | int) else at[row]
        run = trace(subject, [prompt], capture=sites)
        picked = [-1] if place == "last" else np.atleast_1d(place)
        for site in sites:
            expected = np.array(run[site])[0][picked]
            np.testing.assert_allclose(
                together[site][row].reshape(expected.shape), expected, rtol=1e-4, atol=1e-5
            )


def test_the_prefix_is_run_once(subject):
    """Of prompts of one length the prefix is run for the first alone, up to the first position that is asked for."""
    tokens = mx.array(PROMPTS[:3])
    assert shared_length(tokens) == 13
    cache, length = run_shared_prefix(subject, tokens, 14)
    assert length == 13
    assert (cache[0].offset, cache[0].keys.shape[0]) == (13, 3)
    assert run_shared_prefix(subject, tokens, 10)[1] == 10
    assert run_shared_prefix(subject, tokens, 7)[1] == 0
    assert run_shared_prefix(subject, tokens[:1], 14)[1] == 0


def test_hooks_see_whole_prompts(subject):
    """Within hooks, and for what depends on where a run begins, nothing is run before."""
    with hooked(subject, "resid_post.1") as captures:
        collect(subject, PROMPTS[:3], ["resid_post.1"])
    assert captures["resid_post.1"].shape[1] == 16
    assert collect(subject, PROMPTS[:3], ["pattern.1"])[Site("pattern", 1)].shape[-1] == 16


def test_a_cache_that_keeps_more_is_left_alone(mamba):
    """A state-space layer's state is no row of keys that could be repeated."""
    tokens = mx.array(np.tile(np.arange(1, 13), (2, 1)))
    assert run_shared_prefix(mamba, tokens, 11)[1] == 0
