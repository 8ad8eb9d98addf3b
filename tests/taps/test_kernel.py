"""Attention patterns, against the fused kernel they come out of."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import trace
from lazarus_probe.taps import Inside, mix
from lazarus_probe.taps.kernel import kernel_open

MASKS = {
    "none": lambda: None,
    "causal": lambda: "causal",
    "bool": lambda: mx.arange(2, 7)[:, None] >= mx.arange(7)[None],
    "batched bool": lambda: mx.random.uniform(shape=(2, 1, 5, 7)) > 0.4,
    "added": lambda: mx.random.normal((5, 7)),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("sinks", [False, True])
def test_pattern_times_values_is_the_kernels_output(mask, groups, sinks):
    """For every kind of mask, grouping and sink the pattern reproduces what the kernel returns."""
    mx.random.seed(0)
    queries = mx.random.normal((2, 4, 5, 8))
    keys, values = mx.random.normal((2, groups, 7, 8)), mx.random.normal((2, groups, 7, 8))
    options = {"scale": 0.3, "mask": MASKS[mask](), "sinks": mx.random.normal((4,)) if sinks else None}
    expected = mx.fast.scaled_dot_product_attention(queries, keys, values, **options)
    seen: list[mx.array] = []
    with kernel_open([Inside("pattern", seen.append)]):
        mx.fast.scaled_dot_product_attention(queries, keys, values, **options)
    [pattern] = seen
    assert pattern.shape == (2, 4, 5, 7)
    assert np.allclose(np.array(mix(pattern, values)), np.array(expected), atol=1e-5)
    totals = np.array(pattern.sum(-1))
    assert np.all(totals < 1) if sinks else np.allclose(totals, 1, atol=1e-5)


def test_heads_through_the_output_projection_are_the_attention(subject):
    """The captured heads are what the output projection reads."""
    run = trace(subject, [[3, 5, 7, 11], [2, 4, 6, 8]], ["head_out.2", "attn_out.2", "head_out.2.1"])
    heads = run["head_out.2"]
    projected = subject.anatomy.part("o_proj", 2)(heads.reshape(*heads.shape[:2], -1))
    assert np.allclose(np.array(projected), np.array(run["attn_out.2"]), atol=1e-5)
    assert mx.array_equal(run["head_out.2.1"], heads[:, :, 1])


def test_looking_at_a_pattern_leaves_the_kernels_output(grouped):
    """Capturing patterns changes no bit of the logits."""
    plain = trace(grouped, [[3, 5, 7, 11]]).logits
    assert mx.array_equal(trace(grouped, [[3, 5, 7, 11]], [f"pattern.{i}" for i in range(4)]).logits, plain)
