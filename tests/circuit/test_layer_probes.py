"""Probes by layer: a planted property is found where it is, and chance is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lazarus_probe.circuit.layer_probes import first_supported_layer, judged_probes, max_sign_flip_p
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold
from lazarus_probe.introspection.probing.inputs import ProbeDataset, ProbeInputs
from lazarus_probe.introspection.probing.layer_scan import Scan
from lazarus_probe.statistics.permutation import sign_flip

CLAIM = declared("collected-label-readable")


def scan_of(hidden: Any, labels: Any, groups: Any, bag: Any, **further: Any) -> Scan:
    """A scan of activations by layer, with words and further controls by layer."""
    texts = [str(row) for row in range(len(labels))]
    dataset = ProbeDataset(texts, labels, groups)
    inputs = {
        layer: ProbeInputs(
            dataset,
            [],
            texts,
            features,
            {"bag_of_words": bag, **{name: each[layer] for name, each in further.items()}},
        )
        for layer, features in hidden.items()
    }
    return Scan(inputs, draws=199, keep_blocks=True)


def probed(collected: Any, threshold: float = CLAIM.threshold) -> dict[int, Any]:
    labels, groups = np.array(collected.prompts.labels), np.array(collected.prompts.groups)
    bag = np.eye(24)[[int(group[1:]) for group in groups]]
    return judged_probes(scan_of(collected.hidden, labels, groups, bag), at_threshold(CLAIM.id, threshold))


def no_words(rows: int) -> Any:
    """Words that tell nothing."""
    return np.ones((rows, 1))


def test_planted(planted: Callable[..., Any]):
    """A property planted at layer 1 emerges there, and its numbers are in order."""
    found = probed(planted())
    assert first_supported_layer(found) == 1
    assert first_supported_layer(probed(planted(), threshold=1.0)) is None
    assert found[1].low <= found[1].accuracy <= found[1].high
    assert found[1].majority == 0.5
    assert {control.name for control in found[1].controls} == {"majority", "bag_of_words"}
    assert found[1].as_data()["n_classes"] == 2


def test_noise(planted: Callable[..., Any]):
    """On noise nothing emerges, whatever the threshold, though it is learned by heart."""
    for seed in range(4):
        found = probed(planted(size=0.0, seed=seed, width=60), threshold=0.0)
        assert first_supported_layer(found) is None
        assert found[0].train_accuracy == 1.0


def test_without_a_claim(planted: Callable[..., Any]):
    """Without a claim there is no p and no verdict, and nothing is said to be beyond the controls."""
    collected = planted()
    labels, groups = np.array(collected.prompts.labels), np.array(collected.prompts.groups)
    probes = judged_probes(scan_of(collected.hidden, labels, groups, no_words(96)), None)
    assert probes[1].p is None
    assert probes[1].accuracy > 0.8
    assert probes[1].verdict is None
    assert not probes[1].beyond_controls


def test_a_control_that_knows(planted: Callable[..., Any]):
    """What a control reads as well is no finding."""
    collected = planted()
    labels, groups = np.array(collected.prompts.labels), np.array(collected.prompts.groups)
    scan = scan_of(collected.hidden, labels, groups, no_words(96), same=collected.hidden)
    probes = judged_probes(scan, CLAIM)
    assert not probes[1].beyond_controls
    assert probes[1].best_control.name == "same"


def test_pairs_in_a_group():
    """Where groups hold two labels, a planted property is found, and noise is not."""
    rng = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(16), 6), np.tile([0, 0, 0, 1, 1, 1], 16)
    features = rng.normal(size=(96, 8)) + 3.0 * labels[:, None]
    hidden = {0: rng.normal(size=(96, 8)), 1: features}
    probes = judged_probes(scan_of(hidden, labels, groups, no_words(96)), CLAIM)
    assert probes[1].beyond_controls
    assert not probes[0].beyond_controls


def test_for_one_layer_it_is_a_sign_flip():
    """For one layer, the p of a gain is that of the sign-flip test."""
    rng = np.random.default_rng(1)
    gain, groups = rng.normal(0.4, 1.0, size=60), np.repeat(np.arange(12), 5)
    ours = max_sign_flip_p({3: gain}, groups, 4000, 0)[3]
    assert ours == pytest.approx(sign_flip(gain, groups, alternative="greater"), abs=0.02)
