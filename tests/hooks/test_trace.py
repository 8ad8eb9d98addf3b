"""Traces: the model's own forward, watched."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import HookError, hooked, trace
from lazarus_probe.hooks.sites import WHOLE_MODEL
from lazarus_probe.interventions import Intervention, scale, steer, zero
from lazarus_probe.subject import forward
from tests.tolerance import assert_close

TOKENS = [[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]]
LLAMA = [kind for kind in PER_LAYER if kind not in ("mixer_out", "router_logits", "expert_out")]
SITES = [*WHOLE_MODEL, *(f"{kind}.{layer}" for kind in LLAMA for layer in range(4))]


def test_every_site_holds_what_a_forward_by_hand_computes(subject, naive):
    """At every site of every layer the captured value is that of a forward written out by hand."""
    run, expected = trace(subject, TOKENS, SITES), naive(subject.model, TOKENS)
    for site in SITES:
        assert run[site].shape == expected[site].shape
        assert_close(subject, run[site], expected[site], site)


def test_watching_changes_no_bit(subject):
    """With every site captured the logits are those of the plain forward, bit for bit."""
    plain = forward(subject.model, mx.array(TOKENS))
    assert mx.array_equal(trace(subject, TOKENS, SITES).logits, plain)


@pytest.mark.parametrize(
    "site", [*SITES, "head_out.2.1", "queries.1.3", "keys.1.1", "values.2.0", "scores.1.2", "pattern.1.0"]
)
@pytest.mark.parametrize("positions", ["all", "last", [0, 3]])
def test_an_edit_that_changes_nothing_changes_no_bit(grouped, site, positions):
    """With an edit that returns what it was given the logits are those of the plain forward, bit for bit."""
    run = trace(grouped, TOKENS, interventions=Intervention(site, lambda value: value, positions))
    assert mx.array_equal(run.logits, forward(grouped.model, mx.array(TOKENS)))


def test_the_residual_stream_is_a_sum(subject):
    """What enters a block plus what attention and MLP add is what leaves it, and enters the next."""
    run = trace(subject, TOKENS, SITES)
    for layer in range(4):
        total = run[f"resid_pre.{layer}"] + run[f"attn_out.{layer}"] + run[f"mlp_out.{layer}"]
        assert_close(subject, total, run[f"resid_post.{layer}"], layer)
    assert mx.array_equal(run["embed"], run["resid_pre.0"])
    assert mx.array_equal(run["resid_post.1"], run["resid_pre.2"])


def test_an_edit_between_attention_and_mlp_stays_in_the_stream(subject, naive):
    """What is added to the stream after attention is what the MLP reads, and what its output is added to."""
    direction = np.random.default_rng(0).normal(size=32)

    def edit(at, value):
        return value + direction if at == "resid_mid.1" else value

    run = trace(subject, TOKENS, ["resid_mid.1", "resid_post.1"], steer("resid_mid.1", direction))
    expected = naive(subject.model, TOKENS, edit)
    for site in ("resid_mid.1", "resid_post.1"):
        assert_close(subject, run[site], expected[site], site)
    assert_close(subject, run.logits, expected["logits"])


def test_a_row_of_a_batch_is_the_prompt_alone(subject):
    """A prompt's values do not depend on the other prompts of its batch."""
    batch = trace(subject, TOKENS, SITES)
    for row, tokens in enumerate(TOKENS):
        alone = trace(subject, tokens, SITES)
        for site in SITES:
            assert_close(subject, batch[site][row], alone[site][0], site)


@pytest.mark.parametrize("site", SITES)
def test_positions_select_from_the_whole(grouped, site):
    """Captures at some positions are the slices of the capture at all of them, on the position axis."""
    whole = np.array(trace(grouped, TOKENS, site)[site])
    axis = 2 if "pattern" in site or "scores" in site else 1
    for positions, places in (("last", [4]), (1, [1]), ([3, -5], [3, 0])):
        found = np.array(trace(grouped, TOKENS, site, positions=positions)[site])
        assert np.array_equal(found, np.take(whole, places, axis=axis))


def test_texts_tokens_and_arrays_are_the_same_prompt(grouped):
    """A prompt may be a text, token ids, or an array of them."""
    ids = grouped.encode("12 + 5 = ")
    expected = trace(grouped, "12 + 5 = ").logits
    for prompt in (ids, [ids], mx.array(ids), np.array([ids]), ["12 + 5 = "]):
        assert mx.array_equal(trace(grouped, prompt).logits, expected)


def test_nested_contexts_compose(grouped, naive):
    """The outer context's edit is made first and its capture sees that alone; the inner one's sees both."""
    direction = np.random.default_rng(0).normal(size=32)

    def edit(at, value):
        return 2 * value + direction if at == "mlp_out.1" else value

    plain, expected = naive(grouped.model, TOKENS), naive(grouped.model, TOKENS, edit)
    with (
        hooked(grouped, "mlp_out.1", scale("mlp_out.1", 2.0)) as outer,
        hooked(grouped, "mlp_out.1", steer("mlp_out.1", direction)) as inner,
    ):
        logits = forward(grouped.model, mx.array(TOKENS))
    assert_close(grouped, outer["mlp_out.1"], 2 * plain["mlp_out.1"])
    assert_close(grouped, inner["mlp_out.1"], expected["mlp_out.1"])
    assert_close(grouped, logits, expected["logits"])


@pytest.mark.parametrize("inside_out", [False, True])
def test_pattern_and_head_edits_of_nested_contexts_both_count(grouped, naive, inside_out):
    """A head's edit acts on the outcome of the pattern's, whichever of the two contexts is the outer one."""
    edits = [scale("pattern.1", 0.5), scale("head_out.1", 3.0)]
    factors = {"pattern.1": 0.5, "head_out.1": 3.0}
    outer, inner = edits[::-1] if inside_out else edits
    with hooked(grouped, (), outer), hooked(grouped, (), inner):
        logits = forward(grouped.model, mx.array(TOKENS))
    expected = naive(grouped.model, TOKENS, lambda at, value: factors.get(at, 1) * value)["logits"]
    assert_close(grouped, logits, expected)


def test_gradients_pass_through_captures_and_edits(grouped):
    """A loss on a captured value has the gradients of the same loss written with the blocks themselves."""
    tokens, model = mx.array(TOKENS), grouped.model

    def watched(_):
        with hooked(grouped, "resid_post.1", scale("resid_pre.1", 0.5)) as captures:
            forward(model, tokens)
        return (captures["resid_post.1"] ** 2).sum()

    def by_hand(_):
        h = model.layers[0](model.model.embed_tokens(tokens), "causal")
        return (model.layers[1](0.5 * h, "causal") ** 2).sum()

    loss, gradients = nn.value_and_grad(model, watched)(None)
    expected_loss, expected = nn.value_and_grad(model, by_hand)(None)
    assert np.allclose(loss.item(), expected_loss.item(), rtol=1e-5)
    for layer, part in ((0, "q_proj"), (1, "o_proj")):
        found = gradients["model"]["layers"][layer]["self_attn"][part]["weight"]
        wanted = np.array(expected["model"]["layers"][layer]["self_attn"][part]["weight"])
        assert np.abs(wanted).max() > 1
        assert np.allclose(np.array(found), wanted, rtol=1e-3, atol=1e-3)
    assert not np.array(gradients["model"]["layers"][2]["mlp"]["up_proj"]["weight"]).any()


def test_adapters_put_on_later_are_still_watched(make_llama):
    """Layers that LoRA replaced after the subject was made are the ones that are tapped."""
    from mlx_lm.tuner.utils import linear_to_lora_layers

    from lazarus_probe.subject import Subject

    subject = Subject.from_model(make_llama())
    plain = trace(subject, TOKENS, ["neurons.3"])
    linear_to_lora_layers(
        subject.model, 4, {"rank": 2, "scale": 1.0, "dropout": 0.0, "keys": ["mlp.down_proj"]}
    )
    adapted = trace(subject, TOKENS, ["neurons.3"])
    assert type(subject.anatomy.part("down_proj", 3)).__name__ == "LoRALinear"
    assert mx.array_equal(plain["neurons.3"], adapted["neurons.3"])


def test_a_site_asked_for_twice_is_one_site(grouped):
    """Naming a site twice, also by a negative layer, captures it once."""
    run = trace(grouped, TOKENS, ["resid_post.3", "resid_post.-1", "resid_post.3"])
    assert run["resid_post.3"].shape == (2, 5, 32)


def test_what_was_not_captured_is_named(grouped):
    """Reading a site that was not asked for is an error that lists those that were."""
    run = trace(grouped, TOKENS, ["resid_post.3", "embed"])
    assert mx.array_equal(run["resid_post.-1"], run["resid_post.3"])
    with pytest.raises(KeyError, match=r"mlp_out.2 was not captured; captured: embed, resid_post.3"):
        run["mlp_out.2"]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"capture": "resid_pots.1"}, ValueError, "unknown site 'resid_pots'"),
        ({"capture": "resid_post.4"}, IndexError, "layer 4 of resid_post.4 is out of range"),
        ({"interventions": zero("mlp_out.9")}, IndexError, "layer 9 of mlp_out.9 is out of range"),
        (
            {"interventions": zero("mlp_out.1", 5)},
            IndexError,
            "position 5 is out of range: .* positions 0 to 4",
        ),
        ({"interventions": zero("mlp_out.1", -6)}, IndexError, "position -6 is out of range"),
        ({"capture": "embed", "positions": [0, 7]}, IndexError, "position 7 is out of range"),
    ],
)
def test_what_the_model_or_the_prompt_lacks_is_refused(grouped, arguments, error, message):
    """An unknown site, layer or position is an error in one line, never ignored."""
    with pytest.raises(error, match=message) as raised:
        trace(grouped, TOKENS, **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("prompts", "message"),
    [
        ("", "the prompt is empty"),
        ([], "no prompts to run"),
        ([[]], "a prompt has no tokens"),
        ([[1, 64]], "token id 64 is outside the vocabulary, 0 to 63"),
    ],
)
def test_prompts_that_cannot_run_are_refused(grouped, prompts, message):
    """Nothing, and unknown tokens, are errors."""
    with pytest.raises(ValueError, match=message):
        trace(grouped, prompts)


def test_hooks_that_meet_nothing_are_an_error(grouped):
    """A context in which the model is not called fails at its end, for edits and for captures."""
    with (
        pytest.raises(HookError, match=r"zero at mlp_out\.1 met nothing: the model was not called within"),
        hooked(grouped, (), zero("mlp_out.1")),
    ):
        pass
    with (
        pytest.raises(HookError, match="nothing was captured at embed: the model was not called within"),
        hooked(grouped, "embed"),
    ):
        pass


def test_a_position_that_never_comes_is_an_error(grouped):
    """A context fails at its end when one of several positions was never computed."""
    with (
        pytest.raises(HookError, match=r"zero at embed met nothing at position 9: .* ended at position 4"),
        hooked(grouped, (), zero("embed", [1, 9])),
    ):
        forward(grouped.model, mx.array(TOKENS))
    with (
        pytest.raises(HookError, match="nothing was captured at embed at position 9"),
        hooked(grouped, "embed", positions=[1, 9]),
    ):
        forward(grouped.model, mx.array(TOKENS))


def test_an_exception_is_not_hidden_by_hooks_that_met_nothing(grouped):
    """An exception raised inside comes through, although the hooks met nothing."""
    with pytest.raises(ZeroDivisionError), hooked(grouped, "embed", zero("mlp_out.1")):
        raise ZeroDivisionError


def test_values_of_different_shapes_are_not_joined(grouped):
    """Calls with different batches are read one by one."""
    with hooked(grouped, "embed") as captures:
        forward(grouped.model, mx.array(TOKENS))
        forward(grouped.model, mx.array(TOKENS[:1]))
    assert [value.shape[0] for value in captures.calls("embed")] == [2, 1]
    with pytest.raises(HookError, match=r"embed has 2 values of different shapes; use calls\('embed'\)"):
        captures["embed"]


def test_a_position_needs_a_call_of_the_model(grouped):
    """A block called on its own gives no positions to count in."""
    with (
        pytest.raises(HookError, match="a part of the model was called on its own"),
        hooked(grouped, (), zero("resid_post.0", "last")),
    ):
        grouped.anatomy.blocks[0](mx.ones((1, 2, 32)), "causal")


@pytest.mark.parametrize(
    ("capture", "edits", "message"),
    [
        ([None], (), "None is of type NoneType; a site, such as 'resid_post.3', is needed"),
        (3, (), "3 is of type int; a site"),
        ((), ["zero"], "'zero' is of type str; an intervention"),
        ((), zero, "type function; an intervention"),
    ],
)
def test_what_is_no_site_or_edit_is_refused(grouped, capture, edits, message):
    """Something else in place of a site or an intervention is shown with its type."""
    with pytest.raises(TypeError, match=message):
        trace(grouped, TOKENS, capture, edits)
