"""Direct logit attribution against NumPy, on architectures with norms after the parts, and where it is refused."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks import trace
from lazarus_probe.introspection.attribution.frozen_norm import frozen_norm
from lazarus_probe.introspection.attribution.logit_attribution import logit_attribution
from lazarus_probe.organisms.planted import circuits
from lazarus_probe.subject import Subject
from tests.architectures import zoo
from tests.tolerance import in_order, of_logits

PROMPTS = [[0, 5, 9, 11, 7], [0, 6, 8], [0, 9, 3, 4, 2]]


def parts_by_hand(naive, model, prompt, direction):
    """Contributions in NumPy: each output times the final norm's weight over its scale, against the unembedding."""
    seen, layers = naive(model, [prompt]), model.args.num_hidden_layers
    end = seen[f"resid_post.{layers - 1}"][0, -1]
    scale = np.array(model.model.norm.weight) / np.sqrt((end**2).mean() + model.args.rms_norm_eps)
    found = {"embed": seen["embed"][0, -1]}
    for layer in range(layers):
        attention = model.model.layers[layer].self_attn
        output = np.array(attention.o_proj.weight, dtype=np.float64)
        heads = seen[f"head_out.{layer}"][0, -1]
        width = heads.shape[1]
        for head in range(len(heads)):
            found[f"head_out.{layer}.{head}"] = output[:, head * width : (head + 1) * width] @ heads[head]
        if "bias" in attention.o_proj:
            found[f"attn_bias.{layer}"] = np.array(attention.o_proj.bias)
        found[f"attn_out.{layer}"] = seen[f"attn_out.{layer}"][0, -1]
        found[f"mlp_out.{layer}"] = seen[f"mlp_out.{layer}"][0, -1]
    return {name: float(value * scale @ direction) for name, value in found.items()}


@pytest.mark.parametrize("heads", [False, True])
def test_each_part_is_that_of_numpy(subject, naive, heads):
    """Embedding, attention or its heads and bias, and MLPs contribute what NumPy makes of the model's weights."""
    model = subject.model
    head = model.model.embed_tokens if model.args.tie_word_embeddings else model.lm_head
    rows = np.array(head.weight, dtype=np.float64)
    found = logit_attribution(subject, PROMPTS, 5, 6, heads=heads)
    for row, prompt in enumerate(PROMPTS):
        wanted = parts_by_hand(naive, model, prompt, rows[5] - rows[6])
        for column, part in enumerate(found.parts):
            assert found.values[row, column] == pytest.approx(wanted.get(part, 0.0), abs=2e-4)
        logits = naive(model, [prompt])["logits"][0, -1]
        assert found.total[row] == pytest.approx(logits[5] - logits[6], abs=1e-4)
    assert found.residual_error < 1e-5
    kinds = {part.split(".")[0] for part in found.parts}
    assert ("head_out" in kinds, "attn_out" in kinds) == (heads, not heads)
    assert ("attn_bias" in kinds) == (heads and subject.name == "biased")


@pytest.mark.parametrize("name", ["gemma3", "olmo2", "gpt2", "granite", "cohere", "gpt_oss", "falcon_h1"])
@pytest.mark.filterwarnings("ignore::lazarus_probe.checkpoints.differences.CheckpointWarning")
def test_the_parts_add_up_on_other_architectures(name):
    """Norms after the parts, LayerNorms, biases, scaled streams and logits, parallel blocks: the sum is the logit."""
    subject = Subject.from_model(zoo.build(name), name=name, config={})
    for heads in (False, True):
        found = logit_attribution(subject, PROMPTS, heads=heads)
        assert found.residual_error < 1e-4
        np.testing.assert_allclose(found.values.sum(axis=1), found.total, rtol=1e-4)
        assert np.abs(found.values[:, 1:-1]).max() > 1e-3


def test_the_logit_of_the_top_token_is_explained_by_default(grouped):
    """Without tokens it is the model's own highest logit, whose sum is the model's."""
    found = logit_attribution(grouped, PROMPTS)
    for row, prompt in enumerate(PROMPTS):
        logits = np.array(trace(grouped, prompt).logits[0, -1])
        assert in_order([found.answers[row]], logits, of_logits(grouped, logits))
        assert found.total[row] == pytest.approx(logits.max(), abs=1e-5)
    assert found.others is None
    data = found.as_data()
    assert data["n"] == 3
    assert data["parts"][0]["low"] < data["parts"][0]["contribution"] < data["parts"][0]["high"]
    assert "mlp_out.3" in found._repr_html_()


def test_the_planted_head_alone_speaks():
    """One head of layer 1 copies the operand that the model says: nothing else contributes to it."""
    made = circuits.router(1, head=2)
    subject = Subject.from_model(made.model, made.tokenizer, name=made.name)
    found = logit_attribution(subject, ["8*7="], "8", "3", heads=True)
    parts = dict(zip(found.parts, found.values[0], strict=True))
    assert parts.pop("head_out.1.2") == pytest.approx(found.total[0], rel=1e-3)
    assert max(map(abs, parts.values())) < 1e-2 * found.total[0]


def test_tokens_without_preference_get_nothing(organism):
    """The null: in untrained models the mean contribution to pairs of random tokens is nothing, beyond chance."""
    rng = np.random.default_rng(0)
    prompts = [f"{a} * {b} = " for a, b in rng.integers(2, 50, size=(40, 2))]
    answers, others = rng.choice(np.arange(10, 2000), size=(2, 40), replace=False).tolist()
    found = logit_attribution(organism.untrained(), prompts, answers, others)
    t = np.abs(found.values.mean(axis=0)) / (found.values.std(axis=0, ddof=1) / np.sqrt(40) + 1e-12)
    assert t.max() < 3.6  # 18 parts at 0.05, Bonferroni, t with 39 degrees of freedom: 3.2


def test_what_is_no_sum_is_refused(grouped):
    """A soft cap, several streams, an unknown token: the message says what it is."""
    capped = Subject.from_model(zoo.build("gemma2"), name="capped", config={})
    with pytest.raises(ValueError, match="soft cap"):
        logit_attribution(capped, PROMPTS)
    streams = Subject.from_model(zoo.build("gemma3n"), name="streams", config={})
    with pytest.raises(ValueError, match="several residual streams"):
        logit_attribution(streams, PROMPTS)
    with pytest.raises(ValueError, match="token 64 is outside"):
        logit_attribution(grouped, PROMPTS, 64)
    with pytest.raises(ValueError, match="2 tokens for 3 prompts"):
        logit_attribution(grouped, PROMPTS, [5, 6])
    with pytest.raises(ValueError, match="no prompts"):
        logit_attribution(grouped, [])


def test_a_norm_that_is_no_scaling_is_not_taken_for_one():
    """A module with a curve in it is neither an RMSNorm nor a LayerNorm; those two are, with their weights."""
    import mlx.nn as nn

    rows = np.random.default_rng(0).normal(size=(3, 8)) * 4 + 1
    layer, rms = nn.LayerNorm(8), nn.RMSNorm(8)
    for norm in (layer, rms):
        norm.weight = mx.arange(1, 9) / 4.0
    layer.bias = mx.arange(8) / 8.0
    for norm, centred in ((layer, True), (rms, False)):
        found = frozen_norm(norm, rows, mx.float32, 1e-4)
        assert found.centred is centred
        np.testing.assert_allclose(
            found.of(rows) + found.bias, np.array(norm(mx.array(rows))), rtol=1e-4, atol=1e-5
        )
        terms = np.stack([rows / 3, rows * 2 / 3])
        np.testing.assert_allclose(found.of(terms).sum(axis=0), found.of(rows))
    assert frozen_norm(nn.Tanh(), rows, mx.float32, 1e-4) is None
