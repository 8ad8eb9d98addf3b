"""Logits of the last position alone: those of a whole forward, under hooks too, on every kind of tail."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import hooked
from lazarus_probe.interventions import scale, zero
from lazarus_probe.subject import Subject, forward
from lazarus_probe.subject.last_position import last_logits, last_position, next_token_logits
from lazarus_probe.taps import Tap, is_tapped, tapped
from tests.architectures import zoo

TOKENS = mx.array([[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]])
# A plain head, tied ones, final soft caps, scaled logits, a bias, a norm without weights, blocks that return tuples, a
# state space, a mixture, 8 bits.
TAILS = (
    *("llama", "qwen3", "gpt2", "gemma2", "gemma3_text", "cohere", "cohere2", "granite", "granite_tied"),
    *("minicpm", "muse_glimmer", "phi", "nanochat", "gemma4_text", "mamba2", "mixtral", "llama_8bit"),
)
# Several streams; streams that the tail reads together; a tail that reads earlier states too.
WHOLE = ("gemma3n", "deepseek_v41", "kimi_k3")


def difference(values, expected):
    values, expected = (np.array(array.astype(mx.float32), np.float64) for array in (values, expected))
    return np.abs(values - expected).max() / np.abs(expected).max()


@pytest.mark.parametrize("name", TAILS)
def test_the_last_logits_are_those_of_a_whole_forward(name):
    """They differ by less than 1e-5 of the largest, and what follows the blocks ran at one position."""
    subject = Subject.from_model(zoo.build(name))
    assert difference(last_logits(subject, TOKENS), forward(subject.model, TOKENS)[:, -1]) < 1e-5
    with tapped(last_position(subject.anatomy)):
        assert forward(subject.model, TOKENS).shape[1] == 1


def test_what_follows_prompts_of_any_length(grouped):
    """Every prompt is in one batch, with the logits that it has in it, in float32."""
    prompts = [[3, 5, 7], [2, 4], [1, 6, 8]]
    batches = [(rows, np.array(logits)) for rows, logits in next_token_logits(grouped, prompts)]
    assert [rows for rows, _ in batches] == [[1], [0, 2]]
    for rows, logits in batches:
        tokens = mx.array([prompts[row] for row in rows])
        np.testing.assert_array_equal(logits, np.array(last_logits(grouped, tokens).astype(mx.float32)))


@pytest.mark.parametrize("name", WHOLE)
def test_a_tail_that_reads_more_is_run_whole(name):
    """Where one position would not do the model runs as it is, and its logits are its own."""
    subject = Subject.from_model(zoo.build(name))
    assert last_position(subject.anatomy) == []
    np.testing.assert_array_equal(last_logits(subject, TOKENS), forward(subject.model, TOKENS)[:, -1])


def test_hooks_see_a_whole_forward(grouped):
    """Captures have all positions and edits act at all of them, at the last block as below, also in the first call."""
    subject = Subject.from_model(grouped.model)  # of which nothing has been tried
    last = f"resid_post.{subject.num_layers - 1}"
    edits = [zero("attn_out.1", positions=[2]), scale(last, 0.5, positions="last")]
    with hooked(subject, [last, "mlp_out.0"], edits) as captured:
        logits = last_logits(subject, TOKENS)
    with hooked(subject, [last, "mlp_out.0"], edits) as expected:
        whole = forward(subject.model, TOKENS)[:, -1]
    assert difference(logits, whole) < 1e-5
    for site in ("mlp_out.0", last):
        np.testing.assert_array_equal(captured[site], expected[site])
    assert not is_tapped(subject.model)


def test_captured_logits_are_all_there(grouped):
    """Where the model's output is watched all of it is computed."""
    with hooked(grouped, "logits") as captured:
        last_logits(grouped, TOKENS)
    np.testing.assert_array_equal(captured["logits"], forward(grouped.model, TOKENS))


def test_what_runs_around_the_last_block_gets_its_whole_output(grouped):
    """A tap around the last block sees every position that leaves it."""
    shapes = []

    def around(call, args, kwargs):
        output = call(*args, **kwargs)
        shapes.append(output.shape[1])
        return output

    with tapped([Tap(grouped.anatomy.blocks[-1], around=around)]):
        last_logits(grouped, TOKENS)
    assert shapes == [TOKENS.shape[1]]


def test_a_cache_goes_on(grouped):
    """After a prompt in a cache the next tokens have the logits of the whole."""
    from lazarus_probe.anatomy.forward_pass import new_cache

    cache = new_cache(grouped.model)
    last_logits(grouped, TOKENS[:, :3], cache)
    logits = last_logits(grouped, TOKENS[:, 3:], cache)
    assert difference(logits, forward(grouped.model, TOKENS)[:, -1]) < 1e-5
