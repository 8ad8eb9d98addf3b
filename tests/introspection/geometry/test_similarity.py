"""Cosines within and across kinds, against a naive loop, and where kinds are only names."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.geometry.similarity import cosine_by_template, separation, similarity
from lazarus_probe.subject.control_models import control_models

CONTROLS = ("untrained", "bag_of_tokens", "shuffled_labels")
SCORE = {"kind": "decodability", "threshold": 0.1, "margin": 0.05, "minimum_groups": 5}
CLAIM = Claim(id="test", statement="a", source="b", controls=CONTROLS, **SCORE)


def test_cosines_are_those_of_a_loop():
    """Between templates and within one, the table holds the mean over all pairs of rows."""
    values, names = np.random.default_rng(0).normal(size=(9, 5)), np.repeat(list("bac"), 3)
    found, table = cosine_by_template(values, names)
    assert found.tolist() == ["a", "b", "c"]
    unit = [row / np.sqrt(sum(row**2)) for row in values]
    for i, one in enumerate(found):
        for j, two in enumerate(found):
            rows, others = (
                [u for u, name in zip(unit, names, strict=True) if name == of] for of in (one, two)
            )
            pairs = [a @ b for a in rows for b in others]
            assert table[i, j] == pytest.approx(np.mean(pairs))


def test_separation_is_by_hand_and_leaves_the_template_out():
    """A template's own cosine with itself counts for nothing."""
    table = np.array([[9, 4, 1, 2], [4, 9, 0, 1], [1, 0, 9, 3], [2, 1, 3, 9.0]])
    assert separation(table, list("xxyy")).tolist() == [4 - 1.5, 4 - 0.5, 3 - 0.5, 3 - 1.5]


def test_kinds_that_are_apart_are_found(grouped):
    """Prompts of other words lie apart in a model whose embeddings are large for one kind, and p is small."""
    prompts, kinds, templates = asked()
    model = grouped.untrained(3)
    table = np.array(model.model.model.embed_tokens.weight)
    letters = sorted({token for text in prompts[:24] for token in model.encode(text)[1:]})
    table[letters] += 0.2 * np.sign(np.random.default_rng(0).normal(size=table.shape[1])).astype(np.float32)
    model.model.model.embed_tokens.weight = mx.array(table)
    found = similarity(model, control_models(grouped), prompts, kinds, templates, Site("embed"))
    assert found.p < 0.01
    assert found.controls[0].gain > 0.1
    assert found.details["letters and letters"] > found.details["letters and numbers"] + 0.1
    assert found.groups == 12


def asked():
    """Six templates of letters and six of numbers, four prompts each."""
    letters = [(a + b, "letters", a) for a in "abcdef" for b in "ghij"]
    numbers = [(f"{a} + {b}", "numbers", str(a)) for a in range(2, 8) for b in (1, 8, 9, 0)]
    return [list(column) for column in zip(*letters, *numbers, strict=True)]


def test_an_untrained_model_sets_nothing_apart(grouped):
    """In untrained models nothing is supported: what they show, words in common explain."""
    for seed in range(4):
        subject = grouped.untrained(10 + seed)
        found = similarity(subject, control_models(grouped), *asked(), Site("embed"), seed=seed)
        assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED


def test_names_of_kinds_alone_are_no_finding(grouped):
    """Kinds dealt at random have a small score and no small p."""
    prompts, _, templates = asked()
    names = np.unique(templates)
    dealt = dict(zip(names, np.random.default_rng(5).permutation(np.arange(12) % 2).astype(str), strict=True))
    found = similarity(
        grouped, control_models(grouped), prompts, [dealt[t] for t in templates], templates, Site("embed")
    )
    assert found.p > 0.05
    assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED


def test_what_has_no_kinds_is_refused():
    """A single template of a kind, and a row of zeros, are refused."""
    with pytest.raises(ValueError, match="give two kinds of two each"):
        separation(np.eye(3), ["x", "x", "y"])
    with pytest.raises(ValueError, match="row 1 is all zeros"):
        cosine_by_template([[1.0, 0], [0, 0]], ["a", "b"])
