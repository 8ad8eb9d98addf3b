"""Spaces at the end of prompts, against single runs, a planted sensitivity, and models without any."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path
from scipy.special import rel_entr

from lazarus_probe.cli.studies.format_sensitivity import verdict_of
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.studies.format_sensitivity import format_sensitivity
from lazarus_probe.subject import Subject
from lazarus_probe.subject.generate import greedy

SUMS = [f"{a} + {b} =" for a, b in ((2, 3), (15, 8), (9, 17), (22, 4), (31, 9), (6, 6))]


@pytest.fixture(scope="module")
def planted(make_llama, tokenizer):
    """Says `b` after a space and `a` after all else: a space at the end decides, one before the prompt does not."""
    model = make_llama(0, vocab_size=64, tie_word_embeddings=False)

    def silent(name, value):
        if "norm" in name:
            return mx.ones_like(value)
        return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value

    model.update(tree_map_with_path(silent, model.parameters()))
    rng = np.random.default_rng(0)
    table, head = 0.1 * rng.normal(size=(64, 32)), 0.05 * rng.normal(size=(64, 32))
    table[:, 0] = -2
    table[tokenizer.encode(" ", add_special_tokens=False)[0], 0] = 2
    for letter, sign in (("b", 1), ("a", -1)):
        head[tokenizer.encode(letter, add_special_tokens=False)[0]] = 4 * sign * np.eye(32)[0]
    model.model.embed_tokens.weight = mx.array(table.astype(np.float32))
    model.lm_head.weight = mx.array(head.astype(np.float32))
    return Subject.from_model(model, tokenizer, "planted")


def test_a_planted_sensitivity_is_found(planted):
    """A model whose answer hangs on the space at the end is called sensitive."""
    found = format_sensitivity(planted, list("cdefghijklmn"), [0], max_tokens=1)
    sensitive, reason = verdict_of(found)
    assert sensitive, reason
    assert all(one.changed and not one.control_changed for one in found.prompts)
    assert {one.with_space.output for one in found.prompts} == {"b"}


def test_trained_and_untrained_models_without_it_are_not_called_so(organism):
    """The organism adds as well with the space as without; an untrained model is not blamed for saying anything."""
    trained = format_sensitivity(organism, SUMS, [4])
    assert [one.changed for one in trained.prompts] == [False] * len(SUMS)
    assert trained.right() == (6, 6, 6)
    assert not verdict_of(trained)[0]
    for seed in (0, 1):
        assert not verdict_of(format_sensitivity(organism.untrained(seed), SUMS, [4], max_tokens=3))[0]


def test_numbers_are_those_of_single_runs(grouped):
    """Answers, KL and cosines are what each prompt has in a run of its own."""
    prompts = ["12 + 3 =", "a b", "cat"]
    found = format_sensitivity(grouped, ["12 + 3 =  ", "a b", "cat "], [0, 3], max_tokens=3)
    ways = [[form.format(prompt) for prompt in prompts] for form in ("{} ", "{}", " {}")]
    sites = ["resid_post.0", "resid_post.3"]
    runs = [[trace(grouped, text, sites) for text in way] for way in ways]
    states = [[[np.array(run[site][0, -1]) for run in way] for way in runs] for site in sites]
    for p, one in enumerate(found.prompts):
        assert [one.with_space.output, one.without.output, one.control.output] == [
            greedy(grouped, [way[p]], 3)[0] for way in ways
        ]
        with_space, without, control = (
            np.array(mx.softmax(way[p].logits[0, -1]), dtype=np.float64) for way in runs
        )
        assert one.kl == pytest.approx(rel_entr(without, with_space).sum(), rel=1e-3)
        assert one.control_kl == pytest.approx(rel_entr(without, control).sum(), rel=1e-3)

    def cosine(one, two):
        return one @ two / np.linalg.norm(one) / np.linalg.norm(two)

    for layer, (with_space, without, control) in zip(found.layers, states, strict=True):
        assert layer.pair == pytest.approx(np.mean(list(map(cosine, with_space, without))), abs=1e-5)
        assert layer.control == pytest.approx(np.mean(list(map(cosine, without, control))), abs=1e-5)
        others = [cosine(without[i], without[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
        assert layer.others == pytest.approx(np.mean(others), abs=1e-5)
        assert set(layer.clusters.within) == {"working", "broken"}


def test_what_shows_nothing_is_said(grouped):
    """One prompt has no interval, the same prompt with other spaces is one, and spaces alone are no prompt."""
    found = format_sensitivity(grouped, ["a b", "a b ", "a b  "], [0])
    assert len(found.prompts) == 1
    assert found.measurement() is None
    assert verdict_of(found) == (False, "one prompt cannot show it; give at least 5")
    assert found.layers[0].others is None
    assert found.as_data()["summary"]["interval"] is None
    assert "a b" in found._repr_html_()
    with pytest.raises(ValueError, match="nothing but spaces"):
        format_sensitivity(grouped, ["  "], [0])
