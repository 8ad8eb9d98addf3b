"""Whether tracing tells where edits work: it does where each fact has an MLP of its own, and not where any will do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lazarus_probe.claims.expectations import read_claims
from lazarus_probe.claims.verdict import Outcome, judge
from lazarus_probe.introspection.editing.tracing_and_editing import (
    beyond_layer,
    correlations,
    tracing_tells_editing,
)
from lazarus_probe.organisms import planted
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.subject import Subject

HOLDERS = (0, 1, 2, 3) * 2
CLAIMS = Path(__file__).parents[3] / "hypotheses" / "facts" / "expectations"
WORDINGS = ("{}*5=", "{}*12=")


def measured(circuit: planted.Planted, **options: Any) -> tuple[Subject, tuple[Any, ...], Measurement]:
    """The measurement of a planted model's facts; its only other answer stands for both new ones."""
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    prompts = [planted.prompt(a, 9) for a in planted.REMEMBERED]
    said = [str(circuit.answer(a, 9)) for a in planted.REMEMBERED]
    old, new = (
        [subject.single_token(word) for word in words] for words in (said, [str(1 - int(w)) for w in said])
    )
    parts = [str(a) for a in planted.REMEMBERED]
    return (
        subject,
        (prompts, parts, old),
        tracing_tells_editing(subject, prompts, parts, old, [new, new], WORDINGS, **options),
    )


def test_where_each_fact_has_its_mlp_tracing_tells():
    """Edits work in the MLP that holds the fact alone, tracing names it for each, and the claim is not supported."""
    _, _, measurement = measured(planted.memory(HOLDERS, 4, layers=6), share=0.1)
    assert measurement.score > 0.7
    assert measurement.details["edited"] == [0.25, 0.25, 0.25, 0.25, 0]
    claim = read_claims(CLAIMS)["tracing-does-not-tell-where-edits-work"]
    fewer = claim.model_copy(update={"minimum_groups": 8})
    assert judge(fewer, measurement).outcome is not Outcome.SUPPORTED


def test_where_any_mlp_will_do_tracing_does_not_tell():
    """A fact that one MLP makes can be edited in every MLP below its reading, which tracing does not show."""
    _, _, measurement = measured(planted.stored(1, 4, layers=6), share=0.1, steps=16)
    assert measurement.details["layers"] == [0, 1, 2, 3, 4]
    traced, edited = (np.array(measurement.details[name]) for name in ("traced", "edited"))
    assert traced.argmax() == 1
    assert np.delete(traced, 1).max() < 0.01
    assert edited[:4].min() > 0.8
    assert edited[4] == 0
    layer_alone = next(control for control in measurement.controls if control.name == "layer_alone")
    assert layer_alone.score > 0.9
    assert measurement.score < 0.3


def test_correlations_are_those_of_numpy():
    """By fact over layers, after the layer's mean is taken away; 0 where a value does not vary."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 6, 5)) + 10 * np.arange(6)[:, None]
    one, two = beyond_layer(first), beyond_layer(second)
    np.testing.assert_allclose(one.mean(axis=1), 0, atol=1e-9)
    expected = [np.corrcoef(one[:, fact], two[:, fact])[0, 1] for fact in range(5)]
    np.testing.assert_allclose(correlations(one, two), expected, atol=1e-9)
    one[:, 2] = 0.5
    assert correlations(one, two)[2] == 0


def test_effects_of_chance_are_no_correlation():
    """The null: of effects that have nothing to do with each other the mean correlation is about 0."""
    rng = np.random.default_rng(1)
    means = [
        correlations(beyond_layer(one), beyond_layer(two)).mean()
        for one, two in rng.normal(size=(200, 2, 6, 24))
    ]
    assert abs(np.mean(means)) < 3 * np.std(means) / np.sqrt(len(means))


def test_models_with_too_few_layers_are_refused(grouped):
    """With four layers there are no four to compare below the last, and without other words nothing is held out."""
    with pytest.raises(ValueError, match="4 layers; at least 5 are needed to compare layers"):
        tracing_tells_editing(grouped, ["12+3="], ["12"], [5], [[6], [7]], ["{}*1="])
    circuit = planted.stored(1, 4, layers=6)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    with pytest.raises(ValueError, match="no other wordings; give at least one"):
        tracing_tells_editing(subject, ["12*3="], ["12"], [5], [[6], [7]], [])
