"""Probes by layer: a planted property is found where it is, and chance is not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lazarus_probe.circuit.layer_probes import _flipped, emergence_of, mixed, probe_layers, shuffles
from lazarus_probe.claims.declared import declared
from lazarus_probe.claims.judging import at_threshold
from lazarus_probe.statistics import sign_flip

CLAIM = declared("collected-label-readable")


def probed(collected: Any, threshold: float = CLAIM.threshold, **options: Any) -> dict[int, Any]:
    labels, groups = np.array(collected.prompts.labels), np.array(collected.prompts.groups)
    bag = np.eye(24)[[int(group[1:]) for group in groups]]
    known = {"bag_of_words": dict.fromkeys((0, 1), bag)}
    claim = at_threshold(CLAIM.id, threshold)
    return probe_layers(collected.hidden, labels, groups, known, claim, **{"draws": 199} | options)


def no_words(rows: int) -> dict[str, dict[int, np.ndarray]]:
    """Words that tell nothing, at both layers."""
    return {"bag_of_words": dict.fromkeys((0, 1), np.ones((rows, 1)))}


def test_planted(planted: Callable[..., Any]):
    """A property planted at layer 1 emerges there, and its numbers are in order."""
    found = probed(planted())
    assert emergence_of(found) == 1
    assert emergence_of(probed(planted(), threshold=1.0)) is None
    assert found[1].low <= found[1].accuracy <= found[1].high
    assert found[1].majority == 0.5
    assert {control.name for control in found[1].controls} == {"majority", "bag_of_words"}
    assert found[1].as_data()["n_classes"] == 2


def test_noise(planted: Callable[..., Any]):
    """On noise nothing emerges, whatever the threshold, though it is learned by heart."""
    for seed in range(4):
        found = probed(planted(size=0.0, seed=seed, width=60), threshold=0.0)
        assert emergence_of(found) is None
        assert found[0].train_accuracy == 1.0


def test_without_draws(planted: Callable[..., Any]):
    """Without shuffles there is no p and no verdict, and nothing is said to be beyond the controls."""
    collected = planted()
    labels, groups = np.array(collected.prompts.labels), np.array(collected.prompts.groups)
    found = probe_layers(collected.hidden, labels, groups, {}, CLAIM, draws=0)
    assert found[1].p is None
    assert found[1].accuracy > 0.8
    assert found[1].verdict is None
    assert not found[1].beyond_controls


def test_a_control_that_knows(planted: Callable[..., Any]):
    """What a control reads as well is no finding."""
    collected = planted()
    labels, groups = np.array(collected.prompts.labels), np.array(collected.prompts.groups)
    known = no_words(96) | {"same": collected.hidden}
    found = probe_layers(collected.hidden, labels, groups, known, CLAIM, draws=199)
    assert not found[1].beyond_controls
    assert found[1].best_control.name == "same"


def test_pairs_in_a_group():
    """Where groups hold two labels, shuffling exchanges them whole, and a planted property is still found."""
    rng = np.random.default_rng(0)
    groups, labels = np.repeat(np.arange(16), 6), np.tile([0, 0, 0, 1, 1, 1], 16)
    assert mixed(labels, groups)
    drawn = shuffles(labels, groups, rng, 200)
    for row in drawn:
        flipped = (row != labels).reshape(16, 6)
        assert (flipped.all(axis=1) | ~flipped.any(axis=1)).all()
    assert 0.4 < (drawn != labels).mean() < 0.6
    features = rng.normal(size=(96, 8)) + 3.0 * labels[:, None]
    places = {0: rng.normal(size=(96, 8)), 1: features}
    found = probe_layers(places, labels, groups, no_words(96), CLAIM, draws=199)
    assert found[1].beyond_controls
    assert not found[0].beyond_controls


def test_flipped_is_a_sign_flip():
    """For one layer, the p of a gain is that of the sign-flip test."""
    rng = np.random.default_rng(1)
    gain, groups = rng.normal(0.4, 1.0, size=60), np.repeat(np.arange(12), 5)
    ours = _flipped({3: gain}, groups, 4000, 0)[3]
    assert ours == pytest.approx(sign_flip(gain, groups, alternative="greater"), abs=0.02)
