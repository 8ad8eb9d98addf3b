"""Shares of the stream that attention wrote, against the Llama written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.experts.router_input import (
    attention_share,
    is_plain_sum,
    written_by_attention,
)

PROMPTS = ["12 * 3 =", "a cat", "paris is a city", "1 + 2 ="]


def test_shares_are_those_of_the_naive_forward(grouped, naive):
    """The share at each layer is the projection of all attention outputs so far on the stream after attention."""
    found = written_by_attention(grouped, PROMPTS)
    assert found.shape == (len(PROMPTS), grouped.num_layers)
    for row, text in zip(found, PROMPTS, strict=True):
        seen = {
            name: value[0, -1]
            for name, value in naive(grouped.model, [grouped.encode(text)]).items()
            if value.ndim == 3
        }
        attention = np.zeros(grouped.anatomy.hidden_size)
        for layer in range(grouped.num_layers):
            attention = attention + seen[f"attn_out.{layer}"]
            stream = seen[f"resid_post.{layer}"] - seen[f"mlp_out.{layer}"]
            assert row[layer] == pytest.approx(attention @ stream / (stream @ stream), abs=1e-4)


def test_a_llama_is_a_plain_sum(grouped):
    """The blocks of a Llama add what their parts say."""
    assert is_plain_sum(grouped, PROMPTS[0])


def test_a_model_gains_nothing_over_its_like(grouped):
    """Null: a model measured against itself gains exactly nothing."""
    found = attention_share(grouped, [grouped] * 3, PROMPTS, PROMPTS, layer=2)
    assert found.controls[0].gain == pytest.approx(0)
    assert found.score == pytest.approx(written_by_attention(grouped, PROMPTS)[:, 2].mean())
    assert found.curves[0].y == pytest.approx(found.curves[1].y)
    assert found.curves[0].y[2] == pytest.approx(found.score)
    assert found.tokens == sum(len(grouped.encode(text)) for text in PROMPTS)
