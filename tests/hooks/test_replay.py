"""Replays: the upper part of a model on a residual stream that is given."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lazarus_probe.hooks import HookError, hooked, replay, resume, trace
from lazarus_probe.interventions import scale, zero

TOKENS = [[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]]


@pytest.mark.parametrize("layer", [0, 1, 2, 3, -1])
def test_resuming_from_its_own_residuals_is_the_forward(subject, layer):
    """From any block on, the model's own residual stream gives the model's logits, bit for bit."""
    run = trace(subject, TOKENS, f"resid_pre.{layer}")
    assert mx.array_equal(resume(subject, run[f"resid_pre.{layer}"], layer), run.logits)


def test_replaying_the_last_residuals_is_the_forward(subject):
    """The tail on what leaves the last block gives the model's logits, bit for bit."""
    run = trace(subject, TOKENS, "resid_post.3")
    assert mx.array_equal(replay(subject, run["resid_post.3"]), run.logits)


def test_resuming_from_other_residuals_is_a_patched_forward(subject, naive):
    """From residuals the model never had, the logits are those of a forward by hand with them put in."""
    resid = np.random.default_rng(0).normal(size=(2, 5, 32))

    def edit(at, value):
        return resid if at == "resid_pre.2" else value

    found = resume(subject, mx.array(resid.astype(np.float32)), 2)
    assert np.allclose(np.array(found), naive(subject.model, TOKENS, edit)["logits"], atol=1e-4)


def test_gradients_are_those_of_the_blocks_themselves(grouped):
    """Derivatives by residuals and by parameters are those of the same tail written with the modules."""
    resid = trace(grouped, TOKENS, "resid_pre.2")["resid_pre.2"]
    model = grouped.model

    def replayed(h):
        return (resume(grouped, h, 2) ** 2).sum()

    def by_hand(h):
        for block in model.layers[2:]:
            h = block(h, "causal")
        return (model.lm_head(model.model.norm(h)) ** 2).sum()

    assert np.allclose(
        np.array(mx.grad(replayed)(resid)), np.array(mx.grad(by_hand)(resid)), rtol=1e-3, atol=1e-3
    )
    _, found = nn.value_and_grad(model, replayed)(resid)
    _, expected = nn.value_and_grad(model, by_hand)(resid)
    for layer in (1, 3):
        pair = (grads["model"]["layers"][layer]["mlp"]["up_proj"]["weight"] for grads in (found, expected))
        assert np.allclose(*map(np.array, pair), rtol=1e-3, atol=1e-3)
    assert np.array(found["model"]["layers"][3]["mlp"]["up_proj"]["weight"]).any()


def test_hooks_around_a_replay_act_on_what_it_runs(grouped):
    """Edits and captures above the injected layer work, with the injected value as the block's input."""
    plain = trace(grouped, TOKENS, "resid_pre.2", zero("mlp_out.2"))
    doubled = trace(grouped, TOKENS, interventions=[zero("mlp_out.2"), scale("resid_pre.2", 2.0)])
    with hooked(grouped, "resid_pre.2", zero("mlp_out.2")) as captures:
        logits = resume(grouped, plain["resid_pre.2"], 2)
    assert mx.array_equal(logits, plain.logits)
    assert mx.array_equal(captures["resid_pre.2"], plain["resid_pre.2"])
    with hooked(grouped, (), [zero("mlp_out.2"), scale("resid_pre.2", 2.0)]):
        assert mx.array_equal(resume(grouped, plain["resid_pre.2"], 2), doubled.logits)


def test_hooks_act_on_the_injected_input_of_the_first_block(grouped):
    """At block 0, where nothing is passed through, an enclosing edit still sees what was injected."""
    resid = trace(grouped, TOKENS, "resid_pre.0")["resid_pre.0"]
    with hooked(grouped, (), scale("resid_pre.0", 2.0)):
        doubled = resume(grouped, resid, 0)
    assert mx.array_equal(doubled, resume(grouped, 2.0 * resid, 0))
    assert not mx.array_equal(doubled, resume(grouped, resid, 0))


@pytest.mark.parametrize("site", ["embed", "resid_pre.0", "mlp_out.1", "resid_post.1"])
def test_hooks_on_blocks_passed_through_meet_nothing(grouped, site):
    """A hook below the injected layer is an error: what passes there is not a value of the model."""
    with pytest.raises(HookError, match=f"nothing was captured at {site}"), hooked(grouped, site):
        resume(grouped, mx.ones((1, 2, 32)), 2)


def test_layers_and_shapes_that_do_not_fit_are_refused(grouped):
    """A block the model lacks and a stream of another width are errors in one line."""
    with pytest.raises(IndexError, match="layer 4 is out of range: the model has layers 0 to 3"):
        resume(grouped, mx.ones((1, 2, 32)), 4)
    with pytest.raises(IndexError, match="layer 5 is out of range: a replay starts at 0 to 4"):
        replay(grouped, mx.ones((1, 2, 32)), 5)
    for shape in ((2, 32), (1, 2, 31)):
        with pytest.raises(ValueError, match=r"resid is .*; \(B, L, 32\) is needed"):
            replay(grouped, mx.ones(shape))
