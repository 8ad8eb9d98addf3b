"""Rows of routers, against the weights themselves, and traits of rows whose geometry is known."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from mlx_lm.models import olmoe

from lazarus_probe.introspection.experts.router_rows import router_geometry, router_rows, spared_rank
from lazarus_probe.subject import Subject


@pytest.fixture
def mixture(tokenizer: Any) -> Subject:
    mx.random.seed(0)
    args = olmoe.ModelArgs(
        model_type="olmoe", num_hidden_layers=12, vocab_size=64, rms_norm_eps=1e-5, num_experts=16,
        num_experts_per_tok=2, hidden_size=64, intermediate_size=8, num_attention_heads=4, num_key_value_heads=2,
    )  # fmt: skip
    return Subject.from_model(olmoe.Model(args), tokenizer, name="mixture")


@pytest.mark.parametrize("dtype", [mx.float32, mx.bfloat16])
def test_rows_are_the_weights(mixture, dtype):
    """The rows read from what the router says are its weights, in 16 bits and once quantised too."""
    mixture.model.set_dtype(dtype)
    gate = mixture.model.model.layers[1].mlp.gate
    assert np.allclose(router_rows(mixture, 1), np.array(gate.weight.astype(mx.float32)), atol=1e-5)
    quantised = nn.QuantizedLinear.from_linear(gate, group_size=32, bits=4)
    mixture.model.model.layers[1].mlp.gate = quantised
    plain = mx.dequantize(quantised.weight, quantised.scales, quantised.biases, group_size=32, bits=4)
    assert np.allclose(router_rows(mixture, 1), np.array(plain.astype(mx.float32)), atol=1e-3)


def test_the_spared_rank_of_known_rows():
    """Orthogonal rows spare nothing; copies of one row spare all but one."""
    orthogonal, copies = np.eye(8, 20), np.ones((8, 20))
    assert spared_rank(orthogonal) == pytest.approx(0)
    assert spared_rank(copies) == pytest.approx(7 / 8)


def test_random_routers_are_as_random_rows(mixture):
    """Null: an untrained router's rank and cosine are a random matrix's."""
    for trait in ("spared_rank", "cosine"):
        control = router_geometry(mixture, trait).controls[0]
        assert abs(control.gain) < 0.05
        assert control.low < 0 < control.high


def test_low_rank_routers_are_seen(mixture):
    """Routers of rank 2 spare 14 of 16 directions, far more than random rows."""
    for block in mixture.model.layers:
        left, right = mx.random.normal((16, 2)), mx.random.normal((2, 64))
        block.mlp.gate.weight = left @ right
    found = router_geometry(mixture, "spared_rank")
    assert found.score >= 14 / 16
    assert found.controls[0].gain > 0.5
    assert found.controls[0].low > 0.2


def test_a_router_that_is_not_linear_is_refused(mixture):
    """Rows are not read off a router that squares its input."""
    gate = mixture.model.model.layers[1].mlp.gate
    mixture.model.model.layers[1].mlp.gate = nn.Sequential(lambda x: x * x, gate)
    with pytest.raises(ValueError, match="the router of block 1 is not linear"):
        router_rows(mixture, 1)


def test_a_dense_model_has_no_routers(grouped):
    """A dense model is refused by name."""
    with pytest.raises(ValueError, match="grouped has 0 layers with experts"):
        router_geometry(grouped, "cosine")
