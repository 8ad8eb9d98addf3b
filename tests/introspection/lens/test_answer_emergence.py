"""Where an answer begins in what a model says, and what the lens says there."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks.trace import hooked
from lazarus_probe.introspection.lens.analysis_config import AnalysisConfig, LayerStrategy
from lazarus_probe.introspection.lens.analyzer import ModelAnalyzer
from lazarus_probe.introspection.lens.answer_emergence import answer_emergence
from lazarus_probe.introspection.lens.edits import push
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import greedy
from tests.tolerance import of_logits, possible_ranks


@pytest.fixture(scope="module")
def analyzer(organism: Subject) -> ModelAnalyzer:
    return ModelAnalyzer(organism)


@pytest.mark.parametrize(("prompt", "onset"), [("45 * 45 = ", 0), ("45 * 45 =", 1)])
def test_the_lens_is_read_where_the_answer_begins(analyzer: ModelAnalyzer, prompt: str, onset: int):
    """Ranks are those of the answer's first token after all that was said before it, run anew."""
    found = answer_emergence(analyzer, prompt, "2025")
    assert (found.onset, found.generated.strip(), found.cut) == (onset, "2025", False)
    before = analyzer.subject.encode(prompt + found.generated[:onset])
    token = found.evolution.token_id
    again = analyzer.run(before, AnalysisConfig(LayerStrategy.ALL, track_tokens=[token])).token_evolutions[0]
    lens = logit_lens(analyzer.subject, [before]).log_probs[0]
    for layer, rank in found.evolution.layer_ranks.items():
        assert rank in possible_ranks(lens[layer], token, of_logits(analyzer.subject, lens[layer]))
    assert list(found.evolution.layer_probabilities.values()) == pytest.approx(
        list(again.layer_probabilities.values()), abs=1e-4
    )


def test_all_tokens_of_an_answer_are_read(analyzer: ModelAnalyzer):
    """The whole answer is on top where all of its tokens are, each after the ones before; its probability is theirs."""
    subject = analyzer.subject
    found = answer_emergence(analyzer, "45 * 45 = ", "2025")
    whole = found.whole
    assert whole.pieces == tuple(token.token for token in found.evolutions) == ("202", "5")
    ids = subject.encode("45 * 45 = ")
    tokens = subject.pieces("2025")
    lens = logit_lens(subject, [ids, [*ids, tokens[0]]]).log_probs
    for layer in range(subject.num_layers):
        chances = [float(np.exp(lens[i, layer, token])) for i, token in enumerate(tokens)]
        assert whole.layer_probabilities[layer] == pytest.approx(np.prod(chances), abs=1e-4)
        ranks = [
            possible_ranks(lens[i, layer], token, of_logits(subject, lens[i, layer]))
            for i, token in enumerate(tokens)
        ]
        assert any(whole.layer_ranks[layer] == max(a, b) for a in ranks[0] for b in ranks[1])
    assert whole.emergence_layer >= found.evolution.emergence_layer
    assert found.as_data()["whole"]["emergence_layer"] == whole.emergence_layer
    one = answer_emergence(analyzer, "7 * 8 = ", "56")
    assert (one.whole.layer_ranks, len(one.evolutions)) == (one.evolution.layer_ranks, 1)


def test_edits_act_while_it_answers(analyzer: ModelAnalyzer):
    """What is said under a push is what greedy generation says under it, and its chosen token is on top at the end."""
    organism = analyzer.subject
    weight = np.array(organism.model.model.embed_tokens.weight)
    towards = 40 * (weight[organism.single_token(" Oslo")] - weight[organism.single_token(" Paris")])
    edit = push(organism, towards, 5, 1.0)
    prompt = "The capital of France is"
    found = answer_emergence(analyzer, prompt, "Oslo", 3, [edit])
    with hooked(organism, interventions=edit):
        [said] = greedy(organism, [prompt], 3)
    assert found.generated == said
    assert found.onset == 0
    assert found.evolution.layer_ranks[7] == 1 < found.evolution.layer_ranks[4]


def test_numbers_are_read_to_their_end(analyzer: ModelAnalyzer):
    """202 is not in 2025 unless the limit cut it, which is said; nor is an answer that the prefix only begins."""
    assert answer_emergence(analyzer, "45 * 45 = ", "202").onset is None
    cut = answer_emergence(analyzer, "45 * 45 = ", "202", 1)
    assert (cut.onset, cut.cut) == (0, True)
    forced = answer_emergence(analyzer, "45 * 45 = 2", "025", prefix="2")
    assert not forced.as_data()["found"]
    given = answer_emergence(analyzer, "45 * 45 = 2025", "2025", prefix="2025")
    assert (given.in_prefix, given.onset, given.evolution) == (True, None, None)
