"""Quantised checkpoints on a CPU: the same numbers, in float32."""

from __future__ import annotations

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.checkpoints.differences import CheckpointWarning
from lazarus_probe.subject import Subject

pytestmark = pytest.mark.skipif(mx.default_device() != mx.cpu, reason="elsewhere quantised products are fast")
MODES = {
    "affine": {"group_size": 32, "bits": 4},
    "8 bits": {"group_size": 64, "bits": 8},
    "mxfp4": {"group_size": 32, "bits": 4, "mode": "mxfp4"},
}


@pytest.fixture(params=MODES)
def checkpoint(request, make_llama, save_checkpoint, tmp_path):
    """A quantised model of float16 scales and embeddings, and the folder it is saved in."""
    settings = MODES[request.param]
    model = make_llama(hidden_size=64, intermediate_size=128)
    model.set_dtype(mx.float16)
    nn.quantize(model, **settings)
    return model, save_checkpoint(tmp_path / "small", model, quantization=settings)


def test_it_computes_what_the_quantised_model_does(checkpoint):
    """Logits are those of the quantised layers with float32 scales, and the weights are float32 numbers."""
    quantised, folder = checkpoint
    with pytest.warns(
        CheckpointWarning, match=r"small: quantised weights are used as float32 on this CPU \(\d+ MiB"
    ):
        subject = Subject.load(folder)
    kinds = {type(module) for module in subject.model.modules()}
    assert kinds.isdisjoint({nn.QuantizedLinear, nn.QuantizedEmbedding})
    assert subject.dtype == "float32"
    assert "quantization" not in subject.config
    quantised.set_dtype(mx.float32)
    tokens = mx.array([[1, 5, 3, 2]])
    ours, theirs = (np.array(forward(model, tokens)) for model in (subject.model, quantised))
    np.testing.assert_allclose(ours, theirs, atol=1e-5 * np.abs(theirs).max())


def test_it_stays_quantised_where_memory_is_short(checkpoint, monkeypatch):
    """Where float32 weights would not fit, the layers stay quantised, with float32 scales, and that is said."""
    monkeypatch.setattr("lazarus_probe.checkpoints.quantised._memory", lambda: 1000)
    with pytest.warns(CheckpointWarning, match="quantised weights are kept on this CPU"):
        subject = Subject.load(checkpoint[1])
    layer = next(module for module in subject.model.modules() if isinstance(module, nn.QuantizedLinear))
    assert layer.scales.dtype in (mx.float32, mx.uint8)
    assert subject.dtype == "float32"
