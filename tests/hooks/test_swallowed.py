"""Values that are not finite though the logits are: what a later part chooses away, clips or masks."""

from __future__ import annotations

import math

import mlx.core as mx
import pytest

from lazarus_probe.hooks import hooked, trace
from lazarus_probe.hooks.model_check import self_check
from lazarus_probe.interventions import Intervention
from lazarus_probe.subject import LoadError, NotFinite, Subject, forward
from lazarus_probe.subject.generate import greedy
from lazarus_probe.sweep import Mean, kl, sweep
from tests.architectures import zoo

TOKENS = [[3, 5, 7, 11, 13], [2, 4, 6, 8, 10]]
# Where one such number of an edit did not reach the logits: model, site, index in the value, and number.
SWALLOWED = [
    ("llama", "queries.0", (1, 2, 0, 3), -math.inf),
    ("jamba", "router_logits.1", (1, 2, 2), math.nan),
    ("jamba", "queries.1", (1, 2, 0, 3), math.inf),
    ("gpt_oss", "queries.0", (1, 2, 0, 3), math.inf),
    ("olmoe", "router_logits.0", (1, 2, 2), math.nan),
    ("olmoe", "expert_out.0", (1, 2, 0, 3), math.inf),
]
# Weights of which one such number did not show: of routers, of a clipped MLP, and of logits that are capped.
UNSEEN = [
    ("deepseek_v3", "model.layers.1.mlp.gate.weight", math.nan),
    ("deepseek_v3", "model.layers.1.mlp.gate.e_score_correction_bias", math.inf),
    ("jamba", "model.layers.1.feed_forward.router.weight", math.nan),
    ("gpt_oss", "model.layers.0.mlp.experts.up_proj.weight", math.inf),
    ("gemma2", "model.embed_tokens.weight", math.inf),
    ("mamba2", "backbone.layers.0.mixer.A_log", math.inf),
]


def put(index, number):
    def edit(value):
        value[index] = number
        return value

    return edit


@pytest.mark.parametrize(("name", "site", "index", "number"), SWALLOWED)
def test_one_number_of_an_edit_is_refused(name, site, index, number):
    """One number that is not finite, put in where the rest of the model swallows it, is refused with its site."""
    subject = Subject.from_model(zoo.build(name))
    with pytest.raises(NotFinite, match=rf"under edit at {site}: the first such value is at {site};"):
        trace(subject, TOKENS, (), Intervention(site, put(index, number)))


@pytest.mark.parametrize(("name", "site"), [("olmoe", "router_logits.0"), ("jamba", "router_logits.1")])
def test_an_expert_that_is_masked_is_never_chosen(name, site):
    """Minus infinity as a router's logit is a mask: the expert has no part in what comes out, and others have."""
    subject = Subject.from_model(zoo.build(name))
    masked, low = (
        trace(subject, TOKENS, (), Intervention(site, put((..., 1), number))).logits
        for number in (-math.inf, -1e4)
    )
    assert mx.allclose(masked, low, atol=1e-5)
    assert not mx.allclose(masked, trace(subject, TOKENS).logits, atol=1e-4)


def test_a_position_without_any_token_is_refused(grouped):
    """Where all logits of one position are masked no token can be chosen: in a trace and in generation."""
    edit = Intervention("logits", put((0, -1), -math.inf))
    with pytest.raises(NotFinite, match="under edit at logits: at a position all tokens are masked out"):
        trace(grouped, TOKENS, (), edit)
    with pytest.raises(NotFinite, match="under edit at logits"), hooked(grouped, (), edit):
        greedy(grouped, TOKENS, 2)


def test_a_source_of_a_sweep_is_refused():
    """A mean that holds one such number for a router is refused, though the metric would be a number."""
    subject = Subject.from_model(zoo.build("jamba"))
    source = Mean({"router_logits.1": [0.0, 0.0, math.nan, 0.0]})
    with pytest.raises(NotFinite, match=r"router_logits\.1"):
        sweep(subject, TOKENS, ["router_logits.1"], sources={"mean": source}, metrics=[kl()])


@pytest.mark.parametrize(("name", "weight", "number"), UNSEEN)
def test_a_weight_that_does_not_show_is_named(name, weight, number):
    """The self-check names a weight whose number that is not finite leaves the logits finite."""
    subject = Subject.from_model(zoo.build(name))
    *path, last = weight.split(".")
    module = subject.model
    for part in path:
        module = module[int(part)] if isinstance(module, list) else module[part]
    before = module[last]
    module[last] = put((0,) * before.ndim, number)(mx.array(before))
    try:
        assert mx.isfinite(forward(subject.model, mx.array(TOKENS))).all()
        with pytest.raises(
            NotFinite, match=rf"weights of model are not finite: the weight {weight} holds 1 of"
        ):
            self_check(subject)
    finally:
        module[last] = before


@pytest.fixture
def saved(make_llama, save_checkpoint, tmp_path):
    """Saves a model, one weight of which holds a number of choice."""

    def save(pick, index, number):
        model = make_llama(tie_word_embeddings=False, mlp_bias=True)
        module, name = pick(model)
        module[name] = put(index, number)(mx.array(module[name]))
        return save_checkpoint(tmp_path / "saved", model)

    return save


def test_a_file_with_such_a_weight_is_not_loaded(saved):
    """Loading names the weight and its file, before anything is read off."""
    folder = saved(lambda model: (model.model.layers[2].mlp.up_proj, "weight"), (3, 4), math.nan)
    with pytest.raises(LoadError, match=r"the weight model\.layers\.2\.mlp\.up_proj\.weight in .*holds 1 of"):
        Subject.load(folder)


def test_a_row_that_no_token_uses_harms_nothing(saved):
    """A row of an embedding of its own may hold anything as long as no prompt has its token."""
    subject = Subject.load(saved(lambda model: (model.model.embed_tokens, "weight"), 60, math.nan))
    assert mx.isfinite(trace(subject, TOKENS).logits).all()
    with pytest.raises(NotFinite, match=r"the weight model\.embed_tokens\.weight"):
        trace(subject, [[3, 60]])
