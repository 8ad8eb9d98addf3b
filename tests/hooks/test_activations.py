"""Collected activations, against one trace a prompt."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import collect, hooked, trace
from lazarus_probe.interventions import Intervention
from lazarus_probe.sites import Site, resid_post
from lazarus_probe.subject import NotFinite, Subject

PROMPTS = ["12 + 5 = ", "Paris", "a cat sat.", "dog.", "12 * 3 = "]
SITES = ["embed", "attn_out.1", "head_out.2", "head_out.2.3", "neurons.0", "resid_post.-1", "logits"]


@pytest.mark.parametrize("at", ["last", "mean", 1, -2, [3, 1, 0, -1, 4]])
def test_collect_is_a_trace_of_each_prompt(subject, at):
    """Prompts of any lengths give, in their order, what tracing each alone gives."""
    found = collect(subject, PROMPTS, SITES, at=at)
    for index, prompt in enumerate(PROMPTS):
        run = trace(subject, prompt, SITES)
        place = at[index] if isinstance(at, list) else -1 if at == "last" else at
        for site in SITES:
            value = np.array(run[site][0])
            expected = value[1:].mean(0) if at == "mean" else value[place]
            row = found[Site.parse(site)][index]
            assert row.dtype == np.float32
            assert np.allclose(row, expected, atol=1e-5), (site, prompt)


def test_the_mean_counts_every_token_when_no_bos_was_added(grouped):
    """Without a beginning-of-sequence token nothing is left out of the mean."""
    ids = [5, 6, 7]
    found = collect(grouped, [ids], ["resid_post.0"], at="mean")[resid_post(0)]
    assert np.allclose(
        found[0], np.array(trace(grouped, ids, "resid_post.0")["resid_post.0"][0]).mean(0), atol=1e-6
    )


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([], ["embed"]), ValueError, "no prompts to batch"),
        ((["a"], []), ValueError, "no sites to collect"),
        (("a cat", ["embed"]), TypeError, "prompts is one string, 'a cat'; give a list of prompts"),
        ((["a", ""], ["embed"]), ValueError, "the prompt is empty"),
        ((["a", "dog."], ["embed"], 3), IndexError, "prompt 0: position 3 is out of range: .* 0 to 1"),
        ((["a", "b"], ["embed"], [0]), ValueError, "at has 1 positions for 2 prompts"),
        ((["a"], ["embed"], "first"), ValueError, "at 'first' is unknown"),
        (([[0]], ["embed"], "mean"), ValueError, "only the beginning-of-sequence token"),
        (
            (["a", "dog."], ["pattern.0"]),
            ValueError,
            "pattern.0 has a shape that depends on the prompt's length",
        ),
    ],
)
def test_what_cannot_be_collected_is_refused(grouped, arguments, error, message):
    """No prompts, no sites, and positions some prompt lacks are errors."""
    with pytest.raises(error, match=message):
        collect(grouped, *arguments)


def test_half_precision_is_collected_in_float32(make_llama):
    """What a bfloat16 model computes comes as float32, the mean over positions being taken in float32 too."""
    model = make_llama()
    model.set_dtype(mx.bfloat16)
    half = Subject.from_model(model)
    ids = [[5, 6, 7], [8, 9]]
    found = collect(half, ids, ["resid_post.1", "logits"], at="mean")
    for index, tokens in enumerate(ids):
        run = trace(half, tokens, ["resid_post.1", "logits"])
        for site, values in found.items():
            assert run[site].dtype == mx.bfloat16
            assert values.dtype == np.float32
            assert np.allclose(values[index], np.array(run[site][0].astype(mx.float32)).mean(0), atol=1e-5)


def test_a_mask_is_collected_and_its_opposite_is_not(grouped):
    """Minus infinity at the logits is a token that a model masks out; plus infinity is no number."""
    masked, burst = (
        Intervention("logits", lambda value, with_=value: mx.where(mx.arange(64) == 3, with_, value))
        for value in (-mx.inf, mx.inf)
    )
    with hooked(grouped, (), masked):
        assert collect(grouped, ["a cat"], ["logits"])[Site("logits")][0, 3] == -np.inf
    with hooked(grouped, (), burst), pytest.raises(NotFinite, match="the values at logits of "):
        collect(grouped, ["a cat"], ["logits"])
