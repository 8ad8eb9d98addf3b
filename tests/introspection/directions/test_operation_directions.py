"""Directions of numbers: planted ones are found equal or different, and noise is not taken for difference."""

from __future__ import annotations

from dataclasses import replace

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.directions.operation_directions import (
    RIDGE,
    Samples,
    directions,
    readout_direction,
)
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from tests.cases import slow_except

SCORE = {"kind": "absence", "threshold": 0.35, "margin": 0.15, "minimum_groups": 6}
CONTROLS = ("same_operation", "random_targets")
CLAIM = Claim(id="test", statement="a", source="b", controls=CONTROLS, **SCORE)
ROUNDS, EACH = 40, 12


def test_the_direction_is_that_of_ridge():
    """The dual form gives the direction of sklearn's ridge at the same penalty."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    features, numbers = rng.normal(size=(20, 50)), rng.normal(size=20)
    centered = features - features.mean(0)
    penalty = RIDGE * (centered**2).sum() / 20
    expected = Ridge(alpha=penalty).fit(features, numbers).coef_
    found = readout_direction(features, numbers)
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-8)


@pytest.fixture(scope="module")
def build(make_llama, tokenizer):
    """Builds a model in whose embeddings the numbers of two ranges of tokens lie along two directions."""

    def make(second, strength=3.0):
        model = make_llama(0, hidden_size=32, vocab_size=64)

        def silent(name, value):
            return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value

        model.update(tree_map_with_path(silent, model.parameters()))
        table = 0.3 * np.random.default_rng(0).normal(size=(64, 32))
        for token in range(2, 62):
            table[token] += strength * (token % 30) / 30 * (np.eye(32)[0] if token < 32 else second)
        model.model.embed_tokens.weight = mx.array(table.astype(np.float32))
        return Subject.from_model(model, tokenizer, "planted")

    return make


def asked():
    """Two operations: one over the tokens below 32, one over those above, with the number of the token."""
    found, rng = {}, np.random.default_rng(1)
    for name, first in (("low", 2), ("high", 32)):
        tokens = np.concatenate([rng.permutation(30)[:EACH] + first for _ in range(2 * ROUNDS)])
        found[name] = Samples(
            [[0, int(token)] for token in tokens],
            (tokens % 30).astype(float).tolist(),
            np.repeat(np.arange(2 * ROUNDS), EACH).tolist(),
        )
    return found


def test_different_directions_are_told_from_one(build):
    """Two orthogonal directions are apart and each agrees with itself; one direction for both is not apart."""
    site, apart, one = Site("embed"), build(np.eye(32)[1]), build(np.eye(32)[0])
    found = directions(apart, control_models(apart), asked(), site)
    found = replace(found, controls=found.controls[:2])  # in untrained models too all numbers lie anyhow
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED, judge(CLAIM, found)
    same = directions(one, control_models(one), asked(), site)
    assert judge(CLAIM, same).outcome is Outcome.REFUTED
    assert same.score > 0.5
    assert same.grids[0].values[0][1] == pytest.approx(same.score, abs=0.1)


@pytest.mark.parametrize("seed", slow_except(range(4), 0))
def test_noise_is_no_difference(make_llama, tokenizer, seed):
    """In untrained models directions are orthogonal because they are noise, and the claim is not supported."""
    subject = Subject.from_model(make_llama(seed), tokenizer, "random")
    found = directions(subject, control_models(subject), asked(), Site("resid_post", 2), seed=seed)
    with_twin = CLAIM.model_copy(update={"controls": (*CONTROLS, "untrained")})
    assert judge(with_twin, found).outcome is not Outcome.SUPPORTED


def test_numbers_and_samples_are_checked():
    """Numbers that do not vary have no direction."""
    with pytest.raises(ValueError, match="the 3 numbers are all equal"):
        readout_direction(np.eye(3), np.ones(3))


def test_settled_claims_run_no_untrained_model(build, monkeypatch):
    """Where other controls settle a claim untrained models are not run, and the outcome is the same with them."""
    subject = build(np.eye(32)[0])
    samples, site = asked(), Site("embed")
    models = control_models(subject, count=3)
    stated = CLAIM.model_copy(update={"controls": (*CONTROLS, "untrained")})
    whole = directions(subject, models, samples, site)
    monkeypatch.setattr("lazarus_probe.subject.control_models.ControlModel.build", None)
    brief = directions(subject, models, samples, site, claim=stated)
    assert brief.unmeasured == ("untrained",)
    assert judge(stated, brief).outcome is judge(stated, whole).outcome is Outcome.REFUTED
