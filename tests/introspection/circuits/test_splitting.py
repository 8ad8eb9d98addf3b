"""Which models have edges, and why others have none."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.hooks.check import distance
from lazarus_probe.introspection.circuits.split_runs import run_split
from lazarus_probe.introspection.circuits.splitting import split
from lazarus_probe.subject import Subject, UnsupportedArchitecture
from tests.architectures import zoo

SUMS = ["qwen2", "qwen3_moe", "gpt2", "gpt_oss", "granite", "llama_8bit"]


@pytest.mark.parametrize("name", SUMS)
def test_a_run_apart_is_the_plain_run(name):
    """With every part computed apart the logits are those of the model, and what is sent sums to the last residual."""
    subject = Subject.from_model(zoo.build(name), name=name)
    tokens = mx.array(np.random.default_rng(1).integers(0, subject.anatomy.vocab_size, size=(3, 7)))
    logits, stream = run_split(split(subject), tokens)
    assert distance(logits, forward(subject.model, tokens)[:, -1]) < 1e-4
    assert distance(stream.all.sum(axis=0) + stream.constant, stream.total) < 1e-4


def test_factors_are_not_rounded():
    """A model that multiplies what its parts say by a number of many digits is split as exactly as another."""
    from mlx_lm.models.granite import Model, ModelArgs

    model = Model(ModelArgs.from_dict({**zoo.config("granite"), "residual_multiplier": 0.2213594}))
    found = split(Subject.from_model(model, name="granite"))
    assert found.factors == tuple(pytest.approx((0.2213594, 0.2213594), rel=1e-5) for _ in found.graph.blocks)


def test_half_precision_is_split_up_to_its_rounding(make_llama):
    """A model in bfloat16 has edges too; what is sent is added up in float32."""
    model = make_llama(seed=1)
    model.set_dtype(mx.bfloat16)
    subject = Subject.from_model(model, name="half")
    tokens = mx.array([[0, 5, 9, 11, 7]])
    logits, stream = run_split(split(subject), tokens)
    assert distance(logits, forward(model, tokens)[:, -1]) < 0.1
    assert stream.total.dtype == mx.float32


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gemma3_text", "normalises the output of its attention"),
        ("gemma2", "does not use the attention kernel"),
        ("gemma3n", "carries several residual streams"),
        ("afm7", "hand on more than the residual stream"),
        ("step3p5", "something else than its queries, keys, values and MLPs"),
        ("nemotron-nas", "has no attention whose heads can be told apart"),
        ("cohere", "run in parallel"),
        ("mamba", "mixes positions with something else"),
    ],
)
def test_other_streams_are_refused_with_their_reason(name, reason):
    """A model whose residual stream is no sum of heads and MLPs is refused, and the error says why."""
    with pytest.raises(UnsupportedArchitecture, match=f"no sum of what they write: .*{reason}"):
        split(Subject.from_model(zoo.build(name), name=name))
