"""Several places from one run give what one at a time gives."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.hooks import ActivationStore
from lazarus_probe.introspection.probing.layer_probes import probes, site_of
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.statistics.probes.held_out import Problem, held_out
from lazarus_probe.subject.control_models import control_models
from lazarus_probe.subject.relative_depth import EMBED


def test_all_places_are_read_in_one_run(grouped):
    """Each place's measurement is that of `probe`, and each model runs over the prompts once."""
    rng = np.random.default_rng(0)
    texts = ["".join(rng.choice(list("abcdef"), size=5)) for _ in range(40)]
    labelled = ProbeDataset(texts, np.array(["a" in text for text in texts]), np.arange(40) // 4)
    untrained, store = control_models(grouped, count=3), ActivationStore()
    found = probes(grouped, untrained, labelled, [EMBED, 1], store=store)
    assert store.passes == 1 + 3 + 6 + 1  # the last is over the vocabulary's embeddings
    for place in (EMBED, 1):
        assert found[place] == probe(grouped, untrained, labelled, site_of(place))


def test_a_further_control_is_the_same_probe_on_other_features(grouped):
    """What is known besides stands among the controls with the score of the held-out probe that is given it."""
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("abcdef"), size=5)) for _ in range(40)]
    numbers, groups = rng.normal(size=(40, 2)), np.arange(40) // 2
    labels = numbers @ [1.0, 2.0]
    found = probes(
        grouped,
        control_models(grouped, count=3),
        ProbeDataset(texts, labels, groups),
        [0],
        "regression",
        known={"numbers": numbers},
        seed=3,
    )[0]
    control = next(each for each in found.controls if each.name == "numbers")
    expected = held_out(Problem.of(numbers, labels, groups, "regression", 3)).score
    assert control.score == pytest.approx(expected)
    assert control.score > 0.9 > found.score
