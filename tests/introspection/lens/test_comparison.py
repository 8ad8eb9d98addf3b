"""Two models on one prompt: distances against a plain forward, and models whose tokens differ."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from scipy.special import log_softmax

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig, LayerStrategy
from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
from lazarus_probe.introspection.lens.comparison import compare_models
from lazarus_probe.subject import Subject

PROMPT, EVERY = "The capital of France is", AnalysisConfig(LayerStrategy.ALL, track_tokens=[" Paris"])


@pytest.fixture(scope="module")
def pair(organism: Subject) -> tuple[ModelAnalyzer, ModelAnalyzer]:
    return ModelAnalyzer.from_pretrained("organism-early"), ModelAnalyzer(organism)


def test_distances_are_those_of_plain_forwards(pair):
    """KL and JS at the end, and after the last layer, are those of the two models' own distributions."""
    [found] = compare_models(*pair, [PROMPT], EVERY)
    tokens = mx.array([pair[0].subject.encode(PROMPT)])
    log_p, log_q = (
        log_softmax(np.array(forward(each.subject.model, tokens)[0, -1], np.float64)) for each in pair
    )
    kl = float((np.exp(log_p) * (log_p - log_q)).sum())
    middle = np.log((np.exp(log_p) + np.exp(log_q)) / 2)
    js = float(((np.exp(log_p) * (log_p - middle)).sum() + (np.exp(log_q) * (log_q - middle)).sum()) / 2)
    assert found.same_tokens
    assert found.final_kl == pytest.approx(kl, rel=1e-3)
    assert found.final_js == pytest.approx(js, rel=1e-3)
    last = found.layer_divergences[-1]
    assert (last.layer_idx, last.kl_divergence, last.js_divergence) == (7, found.final_kl, found.final_js)
    assert len(found.layer_divergences) == 8


def test_a_model_is_at_no_distance_of_itself(pair):
    """Compared with itself a model differs in nothing, at no layer."""
    [found] = compare_models(pair[1], pair[1], [PROMPT], EVERY)
    assert found.final_kl == 0
    assert max(each.js_divergence for each in found.layer_divergences) == pytest.approx(0, abs=1e-9)
    assert found.same_top_token
    assert found.results[0] == found.results[1]


def test_notebooks_show_both_models(pair):
    """The HTML names both models, and what they predict, in a row each."""
    [found] = compare_models(*pair, [PROMPT], EVERY)
    shown = found._repr_html_()
    assert shown.count("<tr>") == 3
    assert all(name in shown for name in ("organism-early", "organism", "Paris"))


def test_prompts_are_compared_one_by_one(pair):
    """Several prompts are each compared as if alone."""
    together = compare_models(*pair, [PROMPT, "2 + 2 = "], EVERY)
    alone = [compare_models(*pair, [prompt], EVERY)[0] for prompt in (PROMPT, "2 + 2 = ")]
    assert [each.final_js for each in together] == pytest.approx([each.final_js for each in alone], rel=1e-3)


def test_other_tokens_are_matched_by_text(pair, grouped: Subject):
    """Where the tokens differ nothing is compared by id: no KL, no layers, and a JS of texts below log 2."""
    [found] = compare_models(pair[1], ModelAnalyzer(grouped), ["1 + 1 = "], AnalysisConfig())
    assert not found.same_tokens
    assert found.final_kl is None
    assert found.layer_divergences == []
    assert 0 < found.final_js <= np.log(2) + 1e-9
    assert [each.num_layers for each in found.results] == [8, 4]


def test_texts_are_the_same_in_other_orders(make_llama, tokenizer):
    """One model under two vocabularies of the same texts in another order is at no distance of itself."""
    from mlx_lm.tokenizer_utils import TokenizerWrapper
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    letters = [chr(ord("a") + i) for i in range(26)]
    model = make_llama(vocab_size=26, tie_word_embeddings=True)
    order = np.random.default_rng(0).permutation(26)

    def named(texts):
        wordlevel = Tokenizer(models.BPE({text: i for i, text in enumerate(texts)}, []))
        wordlevel.decoder = decoders.Fuse()
        return TokenizerWrapper(PreTrainedTokenizerFast(tokenizer_object=wordlevel, eos_token=texts[0]))

    other = make_llama(vocab_size=26, tie_word_embeddings=True)
    other.model.embed_tokens.weight = model.model.embed_tokens.weight[mx.array(order)]
    analyzers = [
        ModelAnalyzer.from_model(model, named(letters)),
        ModelAnalyzer.from_model(other, named([letters[i] for i in order])),
    ]
    [found] = compare_models(*analyzers, ["hello"], AnalysisConfig())
    assert not found.same_tokens
    assert found.final_js == pytest.approx(0, abs=1e-6)
    assert found.same_top_token
