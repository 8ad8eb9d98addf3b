"""Caches of a forward pass hold little more than what was run, and grow without changing a value."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import cache_entries, forward, new_cache
from tests.architectures import zoo

LENGTH = 40


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "cohere2"])
def test_a_cache_of_short_rows_holds_few_columns(name):
    """Of rows of three tokens it has at most 16 columns, where mlx-lm's own has 256."""
    model = zoo.build(name)
    cache = new_cache(model)
    mx.eval(model(mx.zeros((5, 3), mx.int32), cache=cache))
    columns = [entry.keys.shape[2] for entry in cache_entries(cache)]
    assert columns
    assert max(columns) <= 16


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "cohere2"])
def test_a_cache_that_grows_computes_what_a_whole_pass_does(name):
    """Token by token past several growths, logits are those of the whole prompt."""
    model = zoo.build(name)
    tokens = mx.array(np.random.default_rng(0).integers(1, 30, size=(2, LENGTH)))
    cache = new_cache(model)
    steps = [model(tokens[:, place : place + 1], cache=cache) for place in range(LENGTH)]
    np.testing.assert_allclose(
        np.array(mx.concatenate(steps, axis=1).astype(mx.float32)),
        np.array(forward(model, tokens).astype(mx.float32)),
        atol=1e-4,
    )
