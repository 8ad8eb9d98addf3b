"""Emergence: the planted layer is found and only that, noise and untrained models have none."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map_with_path

from lazarus_probe.claims.claim import Claim
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.emergence import emergence, find
from lazarus_probe.introspection.probing.inputs import ProbeInputs
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.statistics.folds import halves
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.null import PermutationTest
from lazarus_probe.statistics.probes.held_out import HeldOut
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models
from tests.cases import slow_except

TOKENS = np.arange(2, 62)
CLAIM = Claim(
    id="test",
    statement="a",
    source="b",
    family="c",
    kind="emergence",
    threshold=0.8,
    margin=0.1,
    minimum_groups=20,
    controls=(
        "majority",
        "bag_of_tokens",
        "untrained",
        "new_blocks",
        "permuted_blocks",
        "token_embeddings",
        "shuffled_labels",
        "layer_before",
    ),
)


@pytest.fixture(scope="module")
def labels():
    """A class for each token, drawn without regard to anything that the model holds of it."""
    return np.random.default_rng(0).permutation(TOKENS % 2)


@pytest.fixture(scope="module")
def plant(make_llama, tokenizer, labels):
    """Builds a Llama whose MLP of one layer, and nothing else, adds the class of the token to its residual."""

    def build(layer, strength=1.0):
        model = make_llama(0, hidden_size=64, intermediate_size=64, vocab_size=64, tie_word_embeddings=False)
        model.update(tree_map_with_path(silent, model.parameters()))
        table = np.random.default_rng(1).normal(size=(64, 64))
        along = np.linalg.qr(table)[0]  # one direction for each token
        model.model.embed_tokens.weight = mx.array(along.astype(np.float32))
        mlp = model.model.layers[layer].mlp
        keys, out = np.zeros((64, 64)), np.zeros((64, 64))
        keys[TOKENS] = 2 * along[TOKENS]
        out[:, TOKENS] = np.outer(np.random.default_rng(2).normal(size=64), 2 * labels - 1.0)
        mlp.gate_proj.weight = mx.array(keys.astype(np.float32))
        mlp.up_proj.weight = mx.array(keys.astype(np.float32))
        mlp.down_proj.weight = mx.array((strength * out / 100).astype(np.float32))
        return Subject.from_model(model, tokenizer, f"planted {layer}")

    return build


def silent(name, value):
    """Nothing of a layer reaches the residual, and norms do nothing but scale."""
    if "norm" in name:
        return mx.ones_like(value)
    return mx.zeros_like(value) if "o_proj" in name or "down_proj" in name else value


def asked(labels):
    """Each token in two prompts, after one of two others; a split keeps the token together."""
    rng = np.random.default_rng(3)
    prompts = [[0, int(rng.choice([1, 63])), int(token)] for token in TOKENS for _ in range(2)]
    return ProbeDataset(prompts, np.repeat(labels, 2), np.repeat(TOKENS, 2))


@pytest.mark.parametrize("layer", slow_except([0, 2, 3], 2))
def test_the_planted_layer_is_found(plant, labels, layer):
    """Something readable from a layer on is found at that layer, on prompts that had no part in the search.

    Thirty tokens are few: a model that guesses is off by a tenth of them and more, so ten of each kind are given.
    """
    subject = plant(layer)
    found = emergence(subject, control_models(subject, count=10), asked(labels), threshold=0.8, margin=0.1)
    assert judge(CLAIM, found).outcome is Outcome.SUPPORTED, judge(CLAIM, found)
    assert found.details["layer"] == layer
    assert found.details["relative_depth"] == layer / 4
    assert found.details["found"]
    assert found.n + found.details["discovery_n"] == 120
    score = next(curve for curve in found.curves if curve.name == "score")
    assert score.x == (-1, 0, 1, 2, 3)
    assert max(score.y[: layer + 1]) < 0.75 < min(score.y[layer + 1 :])


@pytest.mark.slow
def test_a_layer_that_was_published_is_tested_there(plant, labels):
    """A published layer is tested on all prompts: the right one is supported, a later one gains nothing."""
    subject = plant(1)
    untrained, options = control_models(subject, count=10), {"threshold": 0.8, "margin": 0.1}
    right = emergence(subject, untrained, asked(labels), layer=1, **options)
    assert judge(CLAIM, right).outcome is Outcome.SUPPORTED
    assert (right.n, right.details["layer"], "found" in right.details) == (120, 1, False)
    late = emergence(subject, untrained, asked(labels), layer=2, **options)
    assert judge(CLAIM, late).outcome in (Outcome.CONFOUNDED, Outcome.INCONCLUSIVE)
    assert next(control for control in late.controls if control.name == "layer_before").gain < 0.05
    early = emergence(subject, untrained, asked(labels), layer=0, **options)
    assert judge(CLAIM, early).outcome in (Outcome.REFUTED, Outcome.CONFOUNDED)


@pytest.mark.slow
def test_at_its_layer_it_is_decode_and_one_more_control(plant, labels):
    """Score, controls, interval and p at a layer are those of `probe`, and the layer before is compared in pairs."""
    subject = plant(2, strength=0.2)
    untrained = control_models(subject)
    found = emergence(subject, untrained, asked(labels), layer=2, threshold=0.8, margin=0.1, seed=4)
    plain = probe(subject, untrained, asked(labels), Site("resid_post", 2), seed=4)
    assert (found.score, found.low, found.high, found.p) == (plain.score, plain.low, plain.high, plain.p)
    assert found.controls[:-1] == plain.controls
    before = found.details["layer_before"]
    other = probe(
        subject,
        untrained,
        asked(labels),
        Site("resid_post", before) if before >= 0 else Site("embed"),
        seed=4,
    )
    assert found.controls[-1].score == pytest.approx(other.score)
    assert found.controls[-1].gain == pytest.approx(plain.score - other.score)
    curve = next(curve for curve in found.curves if curve.name == "score")
    assert curve.y[3] == pytest.approx(plain.score)
    assert curve.low is not None
    assert (curve.low[3], curve.y[before + 1]) == pytest.approx((plain.low, other.score))


@pytest.mark.parametrize("seed", slow_except(range(3), 0))
def test_an_untrained_model_has_no_such_layer(plant, labels, seed):
    """On untrained models nothing is found, p is 1, and the verdict is not supported."""
    subject = plant(0).untrained(10 + seed)
    found = emergence(subject, control_models(subject), asked(labels), threshold=0.8, margin=0.1, seed=seed)
    assert found.p == 1
    assert not found.details["found"]
    assert judge(CLAIM, found).outcome is not Outcome.SUPPORTED


def test_what_embeddings_hold_does_not_emerge(plant, labels):
    """What is readable before any layer is found at none."""
    subject = plant(0)
    table = np.array(subject.model.model.embed_tokens.weight)
    table[TOKENS] += np.outer(2 * labels - 1.0, np.random.default_rng(5).normal(size=64)).astype(np.float32)
    subject.model.model.embed_tokens.weight = mx.array(table)
    found = emergence(subject, control_models(subject), asked(labels), threshold=0.8, margin=0.1)
    assert not found.details["found"]
    assert judge(CLAIM, found).outcome is Outcome.CONFOUNDED


def test_a_number_emerges_as_a_class_does(plant, labels):
    """With `regression` the same layer is found by capped R2."""
    subject = plant(2)
    rng = np.random.default_rng(6)
    numbers = asked(labels)
    numbers = ProbeDataset(numbers.prompts, numbers.labels + 0.1 * rng.normal(size=120), numbers.groups)
    found = emergence(subject, control_models(subject), numbers, threshold=0.5, margin=0.1, kind="regression")
    assert (found.details["layer"], found.details["found"], found.unit) == (2, True, "held-out capped R2")
    assert found.score > 0.9
    assert found.low > 0  # of 30 groups, were one that was not seen all wrong


def scan_of(scores, controls, p):
    """A scan with given scores, one control at a level, and nulls that give the p."""

    def rows(score):
        return HeldOut(np.zeros(100), (np.arange(100) < 100 * score).astype(float), np.ones(100))

    by_layer = {layer: rows(score) for layer, score in enumerate(scores, -1)}

    class Made(Scan):
        scores = by_layer

        def controls(self, _):
            return {"bag": rows(controls)}

        def models(self, _):
            return {}

        def null(self, _):
            return PermutationTest(1 - p, np.arange(99) / 99, p)

    return Made(dict.fromkeys(by_layer))


@pytest.mark.parametrize(
    ("scores", "control", "p", "found"),
    [
        ([0.5, 0.5, 0.9, 0.95], 0.5, 0.01, 1),  # the first past the threshold, not the best
        ([0.5, 0.7, 0.78, 0.84], 0.5, 0.01, None),  # by little steps
        ([0.5, 0.5, 0.9, 0.9], 0.85, 0.01, None),  # a control knows it too
        ([0.5, 0.5, 0.9, 0.9], 0.5, 0.2, None),  # chance, over all layers
        ([0.5, 0.5, 0.7, 0.7], 0.5, 0.01, None),  # short of the threshold
        ([0.9, 0.5, 0.9, 0.9], 0.5, 0.01, None),  # the embedding knows it
    ],
)
def test_a_layer_needs_all_that_is_declared(scores, control, p, found):
    """Score, gain over controls, gain over every place before and p must all pass, at the first such layer."""
    assert find(scan_of(scores, control, p), 0.8, 0.1, 0.05) == found


def scan_layers(layers, labels, groups):
    """The scan of some layers, the first of them as the embedding, with the majority as the only control."""
    texts = [str(row) for row in range(len(labels))]
    dataset = ProbeDataset(texts, labels, groups)
    inputs = {layer: ProbeInputs(dataset, [], texts, each, {}) for layer, each in enumerate(layers, -1)}
    return Scan(inputs, draws=99)


@pytest.mark.parametrize("draws", slow_except([50, 200], 50))
def test_random_layers_are_no_finding(draws):
    """On draws of random layers, the search finds one in at most alpha, and confirms no more (exact interval)."""
    rng, groups = np.random.default_rng(40), np.repeat(np.arange(24), 2)
    labels, searched, confirmed = groups % 2, 0, 0
    first, second = halves(labels, groups)
    for _ in range(draws):
        layers = rng.normal(size=(3, 24, 4))[:, groups] + 0.3 * rng.normal(size=(3, 48, 4))
        search = scan_layers(layers[:, first], labels[first], groups[first])
        if (layer := find(search, 0.5, 0.01, 0.05)) is not None:
            searched += 1
            rest = scan_layers(layers[:, second], labels[second], groups[second])
            confirmed += rest.null(layer).p <= 0.05
    assert exact(searched, draws).low <= 0.05, f"{searched} of {draws} found, {exact(searched, draws)}"
    assert exact(confirmed, draws).low <= 0.05
    assert confirmed <= 0.5 * max(searched, 2)


def test_layers_that_do_not_exist_and_halves_that_cannot_be_are_refused(plant, labels):
    """A layer past the last, and prompts of which no two halves can be tested, raise and say what is wrong."""
    subject = plant(0)
    untrained, options = control_models(subject), {"threshold": 0.8, "margin": 0.1}
    with pytest.raises(ValueError, match="layer 4 does not exist: the model has layers 0 to 3"):
        emergence(subject, untrained, asked(labels), layer=4, **options)
    few = ProbeDataset([[0, 5], [0, 6], [0, 7], [0, 8]], [0, 1, 0, 1], [5, 6, 7, 8])
    with pytest.raises(ValueError, match="give more groups"):
        emergence(subject, untrained, few, **options)
