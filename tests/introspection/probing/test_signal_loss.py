"""The loss of a signal: a planted one is found with its layer, and chance is none."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.introspection.probing.signal_loss import signal_loss
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models

TOKENS = np.arange(2, 62)
SCORE = {"kind": "decodability", "threshold": 0.1, "margin": 0.1, "minimum_groups": 20}
CLAIM = Claim(
    id="test", statement="a", source="b", controls=("untrained", "new_blocks", "permuted_blocks"), **SCORE
)


@pytest.fixture(scope="module")
def labels():
    """A class for each token, drawn at random."""
    return np.random.default_rng(0).permutation(TOKENS % 2)


@pytest.fixture(scope="module")
def planted(make_llama, tokenizer, labels):
    """The MLP of layer 1 writes the class of the token, and that of layer 3 writes large numbers over it."""
    model = make_llama(0, hidden_size=64, intermediate_size=64, vocab_size=64, tie_word_embeddings=False)

    def silent(name, value):
        if "norm" in name:
            return mx.ones_like(value)
        return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value

    model.update(tree_map_with_path(silent, model.parameters()))
    along = np.linalg.qr(np.random.default_rng(1).normal(size=(64, 64)))[0]
    model.model.embed_tokens.weight = mx.array(along.astype(np.float32))
    direction, keys = along[62], np.zeros((64, 64))  # of no token that is asked about
    keys[TOKENS] = 2 * along[TOKENS]
    for layer, written in ((1, 2 * labels - 1.0), (3, 4000 * np.random.default_rng(3).normal(size=60))):
        out, mlp = np.zeros((64, 64)), model.model.layers[layer].mlp
        out[:, TOKENS] = np.outer(direction, written) / 100
        mlp.gate_proj.weight = mlp.up_proj.weight = mx.array(keys.astype(np.float32))
        mlp.down_proj.weight = mx.array(out.astype(np.float32))
    return Subject.from_model(model, tokenizer, "planted")


def asked(labels):
    """Each token in four prompts; a split keeps the token together."""
    rng = np.random.default_rng(3)
    prompts = [[0, int(rng.choice([1, 63])), int(token)] for token in TOKENS for _ in range(4)]
    return ProbeDataset(prompts, np.repeat(labels, 4), np.repeat(TOKENS, 4))


@pytest.fixture(scope="module")
def found(planted, labels):
    """The loss of the planted classes."""
    return signal_loss(planted, asked(labels))


def test_a_planted_loss_is_found(found):
    """What layer 1 writes and layer 3 writes over is lost, from a layer that had it."""
    assert found.details["layer"] in (1, 2)
    assert found.score > 0.25
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED, judge(CLAIM, found)
    curve = next(each for each in found.curves if each.name == "score")
    assert curve.y[found.details["layer"]] - curve.y[-1] == pytest.approx(found.score)
    assert min(curve.y[1:3]) > max(curve.y[0], curve.y[3]) + 0.2


def test_the_curve_is_that_of_the_probe(planted, labels):
    """On the prompts tested, each layer's accuracy is what `probe` gives."""
    found = signal_loss(planted, asked(labels), seed=2)
    from lazarus_probe.statistics.folds import halves

    rows = halves(asked(labels).labels, asked(labels).groups, None, 2)[1]
    plain = probe(
        planted, control_models(planted, count=3), asked(labels).take(rows), Site("resid_post", 2), seed=2
    )
    assert found.curves[0].y[2] == pytest.approx(plain.score)


def test_an_untrained_model_loses_nothing(planted, labels):
    """Where the best layer is best by chance, its fall on other prompts is not supported."""
    for seed in range(2):
        subject = planted.untrained(10 + seed)
        found = signal_loss(subject, asked(labels), seed=seed)
        assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED


def test_one_layer_has_none_to_lose(make_llama, tokenizer, labels):
    """A model of a single layer is refused."""
    subject = Subject.from_model(make_llama(0, num_hidden_layers=1), tokenizer, "shallow")
    with pytest.raises(ValueError, match="shallow has one layer"):
        signal_loss(subject, asked(labels))


def test_no_control_model_is_run_where_the_claim_is_settled(planted, labels, found, monkeypatch):
    """A fall that misses the threshold is refuted without any control model, with the number that it has with them."""
    claim = CLAIM.model_copy(update={"kind": "causal_necessity", "threshold": 0.99})

    def refuse(*_):
        raise AssertionError("a control model was built")

    monkeypatch.setattr("lazarus_probe.subject.control_models.ControlModel.build", refuse)
    short = signal_loss(planted, asked(labels), claim=claim)
    assert (short.score, short.low, short.high, short.p) == (found.score, found.low, found.high, found.p)
    assert (short.controls, short.unmeasured) == ((), ("untrained", "new_blocks", "permuted_blocks"))
    assert judge(claim, short).outcome is judge(claim, found).outcome is Outcome.REFUTED
