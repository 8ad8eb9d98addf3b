"""Growth and cosines of the residual stream: a planted factor is found, and NumPy computes the same."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.anatomy.anatomy import UnsupportedArchitecture
from lazarus_probe.introspection.geometry.residual_stream import KINDS, cosines_of, residual_stream
from lazarus_probe.organisms import planted
from lazarus_probe.organisms.planted.weights import CONSTANT
from lazarus_probe.statistics.centred import outlier_dimensions
from lazarus_probe.subject import Subject
from lazarus_probe.subject.random_tokens import random_rows


@pytest.mark.parametrize("factor", [1.5, 2.0])
def test_the_planted_factor_and_direction_are_found(factor):
    """Every block multiplies norms by the factor; one common dimension makes raw cosines 1, without it they are 0."""
    circuit = planted.growing(factor)
    result = residual_stream(Subject.from_model(circuit.model, circuit.tokenizer, circuit.name), 16, 12)
    assert result.growth.mean == pytest.approx(factor, rel=1e-3)
    assert result.growth_of_means.mean == pytest.approx(factor, rel=1e-3)
    np.testing.assert_allclose(result.ratios, factor, rtol=2e-3)
    assert all(
        [outlier.dimension for outlier in left_out] == [CONSTANT] for left_out in result.left_out.values()
    )
    assert (result.cosine("raw").mean > 0.98).all()
    for kind in KINDS[1:]:
        assert np.abs(result.cosine(kind).mean).max() < 0.1


def test_long_first_tokens_are_dropped():
    """A massive activation at the first token counts in the mean norm, and not in the median of the others."""
    circuit = planted.sink(1)
    result = residual_stream(
        Subject.from_model(circuit.model, circuit.tokenizer, circuit.name), 16, 6, drop=1
    )
    assert result.growth.mean == pytest.approx(1.0, abs=0.01)
    assert result.growth_of_means.mean > 1.3
    assert result.first[2].mean() > 4000
    assert result.as_data()["layers"][2]["norm"] < 200


@pytest.mark.parametrize("seed", range(2))
def test_untrained_models_share_no_direction(organism, seed):
    """The null: centred, states of random tokens are as good as unrelated after every block of an untrained model."""
    result = residual_stream(organism.untrained(seed), 16, 24, seed=seed)
    assert np.abs(result.cosine("centred").mean).max() < 0.1
    assert all(not left_out for left_out in result.left_out.values())


def test_norms_and_cosines_are_those_of_numpy(grouped, naive):
    """Medians of norms by row, and the cosine of one token of each row with those of the others, in float64."""
    result = residual_stream(grouped, 10, 5, drop=3, seed=4)
    before, rows = random_rows(grouped, 10, 5, seed=4)
    tokens = np.concatenate([np.tile(before, (5, 1)), rows], axis=1)
    at = np.random.default_rng((4, 3)).integers(3, 11, size=5)
    activations = naive(grouped.model, tokens)
    for layer in range(4):
        states = activations[f"resid_post.{layer}"]
        norms = np.sqrt((states**2).sum(axis=-1))
        np.testing.assert_allclose(result.norms[layer], np.median(norms[:, 3:], axis=1), rtol=1e-5)
        np.testing.assert_allclose(result.first[layer], np.median(norms[:, :3], axis=1), rtol=1e-5)
        np.testing.assert_allclose(result.means[layer], norms.mean(axis=1), rtol=1e-5)
        chosen = states[np.arange(5), at]
        units = chosen / np.linalg.norm(chosen, axis=1, keepdims=True)
        raw = [np.mean([units[i] @ units[j] for j in range(5) if j != i]) for i in range(5)]
        np.testing.assert_allclose(result.cosines["raw"][layer], raw, atol=1e-5)
    last, first = result.norms[-1], result.norms[0]
    assert result.growth.mean == pytest.approx(np.exp(np.log(last / first).mean() / 3))


def test_outlier_dimensions_alone_are_left_out():
    """Without them cosines are of the other dimensions, raw and centred."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(8, 32))
    states[:, 7] = 500 + rng.normal(size=8)
    cosines = cosines_of(states, outlier_dimensions(states))
    rest = np.delete(states, 7, axis=1)
    units = rest / np.linalg.norm(rest, axis=1, keepdims=True)
    expected = [(units[i] @ units.T).sum() - 1 for i in range(8)]
    np.testing.assert_allclose(cosines["without outliers"], np.array(expected) / 7)
    assert cosines["raw"].min() > 0.99


def test_what_cannot_be_measured_is_refused(grouped, make_llama):
    """Too few rows, no tokens left, or one block, by name."""
    with pytest.raises(ValueError, match="rows is 3; give at least 4"):
        residual_stream(grouped, 8, 3)
    with pytest.raises(ValueError, match="drop is 8 of 8 tokens"):
        residual_stream(grouped, 8, 4, drop=8)
    with pytest.raises(UnsupportedArchitecture, match="shallow has one block"):
        residual_stream(Subject.from_model(make_llama(0, num_hidden_layers=1), name="shallow"), 8, 4, drop=1)
