"""Heads computed by slices of their projections say what they say on copies, and only where the slices are theirs."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest

from lazarus_probe.anatomy.projections import projections, with_lora
from lazarus_probe.hooks.check import distance
from lazarus_probe.introspection.circuits.head_projections import contributions, project_apart
from lazarus_probe.introspection.circuits.split_runs import run_split
from lazarus_probe.introspection.circuits.splitting import split
from lazarus_probe.subject import Subject
from tests.architectures import zoo

# Biases, normed queries, experts, adapters below, grouped heads and weights of 8 bits.
SLICED = ["qwen2", "qwen3", "qwen3_moe", "gpt_oss", "granite", "llama_8bit"]


def on_copies(splitting):
    return replace(splitting, slices=({},) * len(splitting.graph.blocks))


def apart(splitting, tokens):
    """Logits and what is sent, where every receiver hears another share of the stream."""
    shares = mx.array(np.random.default_rng(3).uniform(0.5, 1.5, size=(1000, 1, 1, 1)).astype(np.float32))
    logits, stream = run_split(
        splitting,
        tokens,
        lambda receivers, stream: stream.total[None] * shares[receivers.start : receivers.stop],
    )
    return logits, stream.all


def agree(subject):
    splitting = split(subject)
    assert all(splitting.slices)
    tokens = mx.array(np.random.default_rng(1).integers(0, subject.anatomy.vocab_size, size=(2, 6)))
    for sliced, copied in zip(apart(splitting, tokens), apart(on_copies(splitting), tokens), strict=True):
        assert distance(sliced, copied) < 1e-4


@pytest.mark.parametrize("name", SLICED)
def test_slices_and_copies_agree(name):
    """With inputs that differ from head to head, in logits and in what every head sends."""
    agree(Subject.from_model(zoo.build(name), name=name))


def test_adapters_are_part_of_the_slices(make_llama):
    """LoRA on queries and on the output projection is fused into the weights that are cut."""
    subject = Subject.from_model(make_llama(num_key_value_heads=2), name="adapted")
    mx.random.seed(0)
    for projection in projections(subject.anatomy):
        if projection.path.endswith(("q_proj", "o_proj")):
            layer = with_lora(projection.module, 2, 2.0, 0.0)
            layer.lora_b = mx.random.normal(layer.lora_b.shape)
            projection.put(layer)
    agree(subject)


def test_fused_projections_are_run_on_copies():
    """Where queries, keys and values are one matrix, slices are not looked for."""
    assert not any(split(Subject.from_model(zoo.build("gpt2"), name="gpt2")).slices)


def test_heads_that_lie_otherwise_are_run_on_copies(make_llama):
    """A model whose projections interleave the heads is told by the run that compares both."""

    class Interleaved(nn.Linear):
        def __call__(self, x):
            outputs = super().__call__(x)
            return outputs.reshape(*x.shape[:-1], -1, 4).swapaxes(-1, -2).reshape(outputs.shape)

    model = make_llama()
    for layer in model.layers:
        inner = layer.self_attn.q_proj
        layer.self_attn.q_proj = Interleaved(32, 32, bias=False)
        layer.self_attn.q_proj.weight = inner.weight
    splitting = split(Subject.from_model(model, name="interleaved"))
    assert not any(splitting.slices)


def test_slices_are_products_by_hand():
    """Each head's own input times its rows, and its values times its columns."""
    rng = np.random.default_rng(0)
    linear = nn.Linear(6, 4)
    heard = rng.normal(size=(2, 3, 5, 6)).astype(np.float32)
    weight, bias = np.array(linear.weight), np.array(linear.bias)
    projected = np.array(project_apart(linear, mx.array(heard)))
    by_hand = (
        np.concatenate([heard[head] @ weight[2 * head : 2 * head + 2].T for head in range(2)], axis=-1) + bias
    )
    np.testing.assert_allclose(projected, by_hand, atol=1e-5)
    heads = rng.normal(size=(3, 5, 2, 3)).astype(np.float32)
    terms, constant = contributions(linear, mx.array(heads))
    np.testing.assert_allclose(
        np.array(terms),
        [heads[:, :, head] @ weight[:, 3 * head : 3 * head + 3].T for head in range(2)],
        atol=1e-5,
    )
    np.testing.assert_allclose(np.array(constant), bias)
