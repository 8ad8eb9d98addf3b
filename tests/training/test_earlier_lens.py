"""Whether a fitted lens names tokens earlier: a planted rotation is undone, and untrained models get no credit."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.claims.library import declared_claims
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks import trace
from lazarus_probe.introspection.lens.logit_lens import logit_lens
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.training import earlier_lens
from lazarus_probe.training.earlier_lens import named_from, reads_earlier
from lazarus_probe.training.lens_start import least_squares
from lazarus_probe.training.own_texts import own_texts
from tests.cases import slow_except

CLAIM = declared_claims()["fitted-lens-names-tokens-earlier"]


@pytest.fixture(scope="module")
def texts(organism):
    return own_texts(organism, 60, seed=0).ids


def rotated(model, encoded):
    """A stream that holds the last state from the second layer on, in a turned basis until the last layer."""
    rng = np.random.default_rng(3)
    lengths = [len(ids) for ids in encoded]
    last = np.concatenate(
        [np.array(trace(model, [ids], capture="resid_post.7")["resid_post.7"])[0] for ids in encoded]
    )
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(last.shape[1], last.shape[1])))[0]
    layers = [rng.normal(size=last.shape), *(last @ turn for _ in range(6)), last]
    owners = np.repeat(np.arange(len(encoded)), lengths)
    return mx.array(np.stack(layers, axis=1).astype(np.float32)), owners


def test_a_planted_rotation_is_undone_by_the_fitted_lens_alone(organism, texts, monkeypatch):
    """What the stream holds from the second layer on, turned, is named there by the fitted lens, and by no other."""
    monkeypatch.setattr(earlier_lens, "residuals", rotated)
    measurement = reads_earlier(organism, control_models(organism, count=3), texts, earlier=0.5, claim=CLAIM)
    assert measurement.score > 0.9
    assert measurement.details["fitted_lens"] < 1.5
    assert measurement.details["logit_lens"] > 6
    shuffled = next(control for control in measurement.controls if control.name == "shuffled_states")
    assert shuffled.score < 0.3  # what it names most is right now and then


def test_tokens_are_named_where_the_lens_says(organism):
    """The layer is that of the logit lens of the package, looked for from the end by a plain loop."""
    prompts = ["7*8=56", "The capital of France", "12+5=17", "is 4"]
    resid = mx.stack(
        [
            trace(organism, prompt, capture=f"resid_post.{layer}")[f"resid_post.{layer}"][:, -1]
            for prompt in prompts
            for layer in range(8)
        ]
    ).reshape(4, 8, -1)
    for row, prompt in zip(named_from(organism, resid), prompts, strict=True):
        tops = logit_lens(organism, [prompt]).log_probs[0].argmax(axis=-1)
        layer = 7
        while layer > 0 and tops[layer - 1] == tops[7]:
            layer -= 1
        assert row == layer


def test_least_squares_maps_are_those_of_numpy():
    """With hardly a ridge, and last states of equal size, the maps are the least squares of NumPy."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(200, 2, 6)).astype(np.float32)
    states[:, 1] /= np.linalg.norm(states[:, 1], axis=1, keepdims=True)
    weights, biases = least_squares(states, 1e-9)
    design = np.column_stack([states[:, 0], np.ones(200)])
    expected = np.linalg.lstsq(design, states[:, 1] - states[:, 0], rcond=None)[0]
    assert weights[0] == pytest.approx(expected[:6].T, abs=1e-4)
    assert biases[0] == pytest.approx(expected[6], abs=1e-4)


@pytest.mark.parametrize("seed", slow_except(range(2), 0))
def test_untrained_models_are_not_credited(organism, seed):
    """The null: a fitted lens is earlier in untrained models as well, so that of one of them nothing is claimed."""
    model = organism.untrained(seed)
    measurement = reads_earlier(
        model, control_models(model, count=3), own_texts(model, 40, seed=seed).ids, seed=seed
    )
    assert measurement.score > 0.3
    assert judge(CLAIM, measurement).outcome is not Outcome.SUPPORTED


def test_what_cannot_be_fitted_is_refused(organism, make_llama, tokenizer):
    """Texts too few or of one token, and a model of one layer, are named."""
    from lazarus_probe.subject import Subject

    with pytest.raises(ValueError, match=r"1 texts of three tokens or more; give at least 4"):
        reads_earlier(organism, (), [[1, 2, 3], [4], [5, 6]])
    shallow = Subject.from_model(make_llama(num_hidden_layers=1), tokenizer, "shallow")
    with pytest.raises(ValueError, match="has 1 layer, after which the logit lens is exact"):
        reads_earlier(shallow, (), [[1, 2, 3]] * 5)
