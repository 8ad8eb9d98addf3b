"""Logits of the tokens that metrics read, without the rest of the vocabulary."""

from __future__ import annotations

from dataclasses import replace

import architectures
import mlx.core as mx
import numpy as np
import pytest
from mlx_lm.tuner.lora import LoRALinear

from lazarus_probe import Subject
from lazarus_probe.hooks.model_sites import kinds_at
from lazarus_probe.sites import Site
from lazarus_probe.subject import NotFinite, UnsupportedArchitecture, forward
from lazarus_probe.sweep import Donors, Zero, answer, kl, logit_diff, sweep
from lazarus_probe.sweep import chosen_tokens as module
from lazarus_probe.sweep.chosen_tokens import chosen_tokens
from tests.architectures import zoo

RIGHT, WRONG = [5, 40, 17], [33, 5, 2]
# Tied and untied unembeddings, quantised ones, logits with a softcap and with a factor, a bias, experts, recurrence.
NAMES = ("llama", "llama_4bit", "gemma2", "granite", "cohere", "phi", "qwen3_moe", "mamba", "gpt2")


@pytest.fixture(autouse=True)
def any_vocabulary(monkeypatch):
    """Also of tiny models, whose vocabularies are too small to gain by it."""
    monkeypatch.setattr(module, "LARGE", 1)
    monkeypatch.setattr(module, "FEW", 1)


def swept(subject: Subject, *, alone: bool) -> np.ndarray:
    targets = np.array(zoo.random_tokens(3, 7)).tolist()
    sites = [Site("resid_post", layer) for layer in range(subject.num_layers)]
    sites += [Site(kind, 0) for kind in ("mlp_out", "mixer_out") if kind in kinds_at(subject.anatomy, 0)]
    metric = replace(logit_diff(RIGHT, WRONG), reads_others=not alone)
    result = sweep(subject, targets, sites, sources={"zero": Zero()}, metrics=[metric], positions=[2, -1])
    return result.values["logit_diff"]


@pytest.mark.parametrize("name", NAMES)
def test_chosen_tokens_have_the_logits_of_the_whole_vocabulary(name):
    """A sweep of logit differences is the same with every token's logit and with those of six tokens."""
    subject = Subject.from_model(zoo.build(name))
    whole = swept(subject, alone=False)
    assert chosen_tokens(subject, np.unique(RIGHT + WRONG).astype(np.int32)) is not None
    assert np.abs(swept(subject, alone=True) - whole).max() <= 1e-5 * max(1, np.abs(whole).max())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*zoo.architectures()} - architectures.DIVIDED_BY_SIZE))
def test_no_architecture_has_other_logits_for_chosen_tokens(name):
    """Where a model makes its logits in another way the whole vocabulary is computed, so that none differs."""
    try:
        subject = Subject.from_model(zoo.build(name))
    except UnsupportedArchitecture:
        pytest.skip("refused by the hooks as well")
    whole = swept(subject, alone=False)
    assert np.abs(swept(subject, alone=True) - whole).max() <= 1e-4 * max(1, np.abs(whole).max())


def failing(_logits: mx.array) -> None:
    raise ValueError("after the last block")


def test_the_model_is_whole_afterwards():
    """Rows of other tokens are gone within a forward alone, also where it fails."""
    subject = Subject.from_model(zoo.build("gemma2"))
    tokens = zoo.random_tokens(2, 5)
    before = np.array(forward(subject.model, tokens))
    chosen = chosen_tokens(subject, np.array([3, 9], np.int32))
    assert chosen is not None
    with chosen.alone():
        alone = np.array(forward(subject.model, tokens))
    assert np.allclose(alone, before[..., [3, 9]], atol=1e-5)
    with pytest.raises(ValueError, match="after the last block"), chosen.alone():
        failing(forward(subject.model, tokens))
    assert (np.array(forward(subject.model, tokens)) == before).all()


@pytest.mark.parametrize("site", ["resid_post.-1", "mlp_out.-1", "attn_out.-1", "resid_post.0"])
def test_rows_may_join_anywhere(site):
    """Also rows that are edited after the last block, which none of them runs, have the logits of chosen tokens."""
    subject = Subject.from_model(zoo.build("llama"))
    targets, donors = (half.tolist() for half in np.split(np.array(zoo.random_tokens(6, 7)), 2))
    metric, sources = logit_diff(RIGHT, WRONG), {"donor": Donors(donors)}
    alone, whole = (
        sweep(subject, targets, [site], sources=sources, metrics=[replace(metric, reads_others=others)])
        for others in (False, True)
    )
    expected = whole.values["logit_diff"]
    assert np.abs(alone.values["logit_diff"] - expected).max() <= 1e-5
    assert np.abs(expected - whole.baseline["logit_diff"][:, None, None, None]).max() > 0.1


def test_few_rows_are_multiplied():
    """The logits that a metric is given are those of its tokens, and all of them where another metric reads all."""
    subject = Subject.from_model(zoo.build("llama"))
    widths: list[int] = []

    def read(logits: mx.array, _: mx.array, ids: list[mx.array]) -> mx.array:
        widths.append(logits.shape[1])
        return logits[:, 0] + ids[0]

    metric = replace(logit_diff(7, 9), read=read)
    for metrics in ([metric], [metric, kl()], [metric, answer(2)]):
        sweep(
            subject, [[1, 2, 3]], ["mlp_out.0"], sources={"zero": Zero()}, metrics=metrics, positions="last"
        )
    vocabulary = subject.anatomy.vocab_size
    # Unpatched rows are read first, with all their logits.
    assert widths == [vocabulary, 2, vocabulary, vocabulary, vocabulary, vocabulary]


def test_an_adapter_on_the_unembedding_is_seen():
    """Where LoRA was put on the unembedding after a first sweep, the whole vocabulary is computed, with it."""
    subject = Subject.from_model(zoo.fresh("llama"))
    before = swept(subject, alone=True)
    head = LoRALinear.from_base(subject.model.lm_head, r=2)
    head.lora_b = mx.array(np.random.default_rng(0).normal(size=head.lora_b.shape).astype(np.float32))
    subject.model.lm_head = head
    after = swept(subject, alone=True)
    assert np.allclose(after, swept(subject, alone=False), atol=1e-5)
    assert np.abs(after - before).max() > 0.1


def test_small_vocabularies_keep_their_bits(monkeypatch, organism):
    """Where the unembedding costs next to nothing it is the model's own."""
    monkeypatch.undo()
    assert chosen_tokens(organism, np.array([3, 9], np.int32)) is None


def test_logits_that_overflow_are_refused_as_before():
    """A cell whose stream is not finite is refused by name, though few of its logits are computed."""
    subject = Subject.from_model(zoo.fresh("llama"))
    subject.anatomy.part("down_proj", 1).weight[0, 0] = float("inf")
    with pytest.raises(NotFinite):
        swept(subject, alone=True)
