"""Several layers from one run give what one at a time gives; the best of them is not flattered by the search."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks import ActivationStore
from lazarus_probe.introspection.probing.inputs import ProbeDataset, ProbeInputs, site_of
from lazarus_probe.introspection.probing.layer_scan import Scan, best_layer, probe_layers
from lazarus_probe.introspection.probing.probe import probe
from lazarus_probe.statistics.probes.held_out import Problem, held_out
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.subject.relative_depth import EMBED


def test_all_layers_are_read_in_one_run(grouped):
    """Each layer's measurement is that of `probe`, and each model runs over the prompts once."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef"), size=5)) for _ in range(40)]
    labelled = ProbeDataset(texts, np.array(["a" in text for text in texts]), np.arange(40) // 4)
    untrained, store = control_models(grouped, count=3), ActivationStore()
    measured = probe_layers(grouped, untrained, labelled, [EMBED, 1], store=store)
    assert store.passes == 1 + 3 + 6 + 1  # the last is over the vocabulary's embeddings
    for layer in (EMBED, 1):
        assert measured[layer] == probe(grouped, untrained, labelled, site_of(layer))


def test_a_further_control_is_the_same_probe_on_other_features(grouped):
    """A further control has the score of the held-out probe that is fitted to its features."""
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("abcdef"), size=5)) for _ in range(40)]
    numbers, groups = rng.normal(size=(40, 2)), np.arange(40) // 2
    labels = numbers @ [1.0, 2.0]
    measured = probe_layers(
        grouped,
        control_models(grouped, count=3),
        ProbeDataset(texts, labels, groups),
        [0],
        "regression",
        control_features={"numbers": numbers},
        seed=3,
    )[0]
    control = next(each for each in measured.controls if each.name == "numbers")
    expected = held_out(Problem.of(numbers, labels, groups, "regression", 3)).score
    assert control.score == pytest.approx(expected)
    assert control.score > 0.9 > measured.score


def noise(layers: int, rng: np.random.Generator) -> Scan:
    """A scan of layers that hold nothing of two classes."""
    dataset = ProbeDataset([str(i) for i in range(30)], np.repeat(["a", "b"], 15), np.arange(30))

    def inputs() -> ProbeInputs:
        bag, models = {"bag_of_tokens": rng.normal(size=(30, 3))}, {"untrained": rng.normal(size=(3, 30, 3))}
        tokens, texts = [[i] for i in range(30)], [str(i) for i in range(30)]
        return ProbeInputs(dataset, tokens, texts, rng.normal(size=(30, 3)), bag, models=models)

    return Scan({layer: inputs() for layer in range(EMBED, layers)})


def test_the_search_does_not_flatter_itself() -> None:
    """Of layers of noise the best looks above chance; nested, and under the max statistic, it does not."""
    rng = np.random.default_rng(3)
    scans = [noise(6, rng) for _ in range(3)]
    best = [max(scan.scores[layer].score for layer in scan.layers) for scan in scans]
    nested = [best_layer(scan, scan.layers)[2] for scan in scans]
    assert np.mean(best) > 0.6
    assert np.mean([each.score for each in nested]) < 0.55
    assert min(each.p or 0 for each in nested) > 0.05
