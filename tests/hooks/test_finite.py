"""Values that are not finite are refused where a token would be chosen by them, and traced to where they begin."""

from __future__ import annotations

import math

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.anatomy.site_kinds import PER_LAYER
from lazarus_probe.hooks import collect, compiled, hooked, trace
from lazarus_probe.hooks.model_check import self_check
from lazarus_probe.hooks.replay import require_free_tail
from lazarus_probe.interventions import Intervention, patch, scale
from lazarus_probe.introspection.generation.completions import generate
from lazarus_probe.introspection.generation.continuation import continuation_probability
from lazarus_probe.introspection.lens.logit_lens import logit_lens, read_states
from lazarus_probe.introspection.patching.encoded_pairs import next_tokens
from lazarus_probe.subject import NotFinite, Subject
from lazarus_probe.subject.finite import peak
from lazarus_probe.subject.generate import greedy
from lazarus_probe.sweep import Donors, Mean, answer, attribution, kl, sweep

TOKENS = [[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]]
PROMPTS = ["1 + 2", "3 * 4"]
SITES = [
    "embed",
    *(f"{kind}.1" for kind in PER_LAYER if kind not in ("mixer_out", "router_logits", "expert_out")),
]

READERS = {
    "trace": lambda subject: trace(subject, TOKENS),
    "collect": lambda subject: collect(subject, PROMPTS, ["resid_post.3"]),
    "compiled": lambda subject: compiled(subject, "resid_post.1")(TOKENS),
    "greedy": lambda subject: greedy(subject, PROMPTS, 3),
    "generate": lambda subject: generate(subject, PROMPTS, 3),
    "the next token": lambda subject: next_tokens(subject, PROMPTS),
    "continuation": lambda subject: continuation_probability(subject, PROMPTS, ["2", "1"]),
    "lens": lambda subject: logit_lens(subject, PROMPTS),
    "sweep": lambda subject: sweep(
        subject, PROMPTS, ["mlp_out.0"], sources={"donor": Donors(PROMPTS[::-1])}, metrics=[kl()]
    ),
    "attribution": lambda subject: attribution(subject, PROMPTS, PROMPTS[::-1], ["mlp_out.0"], metric=kl()),
    "free tail": require_free_tail,
    "self-check": lambda subject: self_check(subject),
}


def broken(make_llama, tokenizer, value):
    model = make_llama()
    weight = model.model.layers[2].mlp.up_proj.weight
    weight[3, 4] = value
    return Subject.from_model(model, tokenizer, name="broken")


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("reader", READERS)
def test_a_weight_that_is_not_finite_is_named(make_llama, tokenizer, reader, value):
    """Whatever reads the model refuses it, and names the weight, and how much of it is wrong."""
    with pytest.raises(
        NotFinite, match=r"of broken are not finite: the weight model\.layers\.2\.mlp\.up_proj"
    ):
        READERS[reader](broken(make_llama, tokenizer, value))


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_the_first_site_is_the_edited_one(grouped, site, value):
    """An edit that puts in what is not finite is named with its site, which is found to be the first."""
    with pytest.raises(NotFinite) as raised:
        trace(grouped, TOKENS, (), patch(site, value))
    assert f"not finite under patch at {site}: the first such value is at {site}; give" in str(raised.value)


GENERATING = ("trace", "greedy", "generate", "the next token", "continuation")


@pytest.mark.parametrize("reader", [*GENERATING, "collect", "lens"])
def test_hooks_around_a_reader_are_named(grouped, reader):
    """Within `hooked`, whatever reads the model names the edits that act, and where the first bad value is."""
    edit = scale("resid_post.1", 3e38)
    with (
        pytest.raises(
            NotFinite, match=r"under scale at resid_post\.1: .* at resid_post\.1; give a smaller edit"
        ),
        hooked(grouped, (), edit),
    ):
        READERS[reader](grouped)


def test_a_token_that_is_generated_counts(grouped):
    """An edit of a position that is yet to come is refused when it comes, and not before."""
    length = len(grouped.encode(PROMPTS[0]))
    edit = patch("resid_post.2", math.inf, length + 2)
    with pytest.raises(NotFinite, match=r"under patch at resid_post\.2"), hooked(grouped, (), edit):
        greedy(grouped, PROMPTS[:1], 6)


@pytest.mark.parametrize("metric", [kl(), answer(2)])
@pytest.mark.parametrize("site", ["resid_post.1", "head_out.2.1", "mlp_out.3", "pattern.0"])
@pytest.mark.parametrize("positions", ["each", "all"])
def test_a_cell_of_a_sweep_is_named(grouped, metric, site, positions):
    """A source that holds what is not finite is refused with the site and where the first bad value is."""
    shape = {"head_out.2.1": (8,), "pattern.0": ()}.get(site, (32,))
    source = Mean({site: np.full(shape, np.inf, np.float32)})
    place = site.removesuffix(".1") if site.startswith("head") else site
    with pytest.raises(NotFinite, match=rf"at {site}.*: (the first such value is at {place}|in a token)"):
        sweep(grouped, PROMPTS, [site], sources={"huge": source}, metrics=[metric], positions=positions)


def test_half_precision_is_told_what_to_do(make_llama, tokenizer):
    """A float16 run that overflows says that float16 ends at 65504, and which types to use; bfloat16 runs."""
    subject = Subject.from_model(make_llama(), tokenizer)
    subject.model.set_dtype(mx.float16)
    with pytest.raises(
        NotFinite, match=r"run the model in float32 or bfloat16 \(.*\): float16 ends at 65504"
    ):
        trace(subject, TOKENS, (), scale("resid_post.1", 60000.0))
    subject.model.set_dtype(mx.bfloat16)
    assert mx.isfinite(trace(subject, TOKENS, (), scale("resid_post.1", 60000.0)).logits).all()


def test_an_adapter_is_named(make_llama, tokenizer):
    """A LoRA weight that is NaN is said to be the adapter's."""
    from mlx_lm.tuner.utils import linear_to_lora_layers

    subject = Subject.from_model(make_llama(), tokenizer)
    linear_to_lora_layers(
        subject.model, 4, {"rank": 2, "scale": 1.0, "dropout": 0.0, "keys": ["mlp.down_proj"]}
    )
    layer = subject.anatomy.part("down_proj", 3)
    layer.lora_b = layer.lora_b * mx.nan
    with pytest.raises(NotFinite, match=r"mlp\.down_proj\.lora_b, of the adapter, holds 64 of 64"):
        greedy(subject, PROMPTS, 1)


def test_a_file_is_named(make_llama, tokenizer, tmp_path):
    """Where the folder is known, the message names the file that holds the weight."""
    subject = broken(make_llama, tokenizer, math.nan)
    (tmp_path / "model.safetensors").write_bytes(b"")
    named = Subject.from_model(subject.model, tokenizer, path=tmp_path)
    with pytest.raises(NotFinite, match=r"up_proj\.weight in .*/model\.safetensors holds 1 of 1536 numbers"):
        trace(named, TOKENS)


def test_states_are_named(grouped):
    """A state that is no number is named by its row; one whose logits overflow is told from it."""
    states = np.ones((3, 32), np.float32)
    states[1, 5] = np.nan
    with pytest.raises(NotFinite, match=r"read from state 1 of 3 are not finite: the state itself is not"):
        read_states(grouped, states)


@pytest.mark.parametrize("dtype", [mx.float32, mx.float16, mx.bfloat16])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("size", [2, 7, 64, 5001])
def test_the_peak_tells(dtype, bad, size):
    """Wherever it lies NaN or plus infinity shows in the largest logit; a mask does not, but one of a whole row."""
    for at in {0, size // 2, size - 1}:
        values = np.random.default_rng(0).normal(size=(2, size)).astype(np.float32)
        values[1, at] = bad
        assert not math.isfinite(peak(mx.array(values).astype(dtype)).item())
        values[1, at] = -math.inf
        assert math.isfinite(peak(mx.array(values).astype(dtype)).item())
        values[1] = -math.inf  # no token of that row can be chosen
        assert not math.isfinite(peak(mx.array(values).astype(dtype)).item())


def test_masked_logits_and_large_values_are_left_alone(grouped):
    """Minus infinity at a logit, and numbers near the end of float32, are no error."""
    masked = Intervention("logits", lambda value: mx.where(mx.arange(64) == 3, -mx.inf, value))
    assert trace(grouped, TOKENS, (), masked).logits[0, 0, 3].item() == -math.inf
    assert mx.isfinite(trace(grouped, TOKENS, (), patch("logits", 3e38)).logits).all()
