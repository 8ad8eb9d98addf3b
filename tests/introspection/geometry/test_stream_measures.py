"""Sinks, massive activations, growth and anisotropy as measurements: found where planted, and not in random models."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.geometry.residual_stream import residual_stream
from lazarus_probe.introspection.geometry.sink_runs import common_massive, first_token_attention
from lazarus_probe.introspection.geometry.stream_measures import (
    StreamRows,
    StreamRuns,
    anisotropy,
    growing_norms,
    massive_rows,
    sinking_heads,
    sinks_lost,
    stream_rows,
    stream_runs,
)
from lazarus_probe.organisms import planted
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models, untrained_models
from lazarus_probe.subject.random_tokens import begin_token, random_rows

ROWS, LENGTH = 24, 12


def tokens_of(subject, seed=0):
    """Rows of random tokens."""
    return random_rows(subject, LENGTH, ROWS, seed=seed)[1]


def made(own: dict[str, float], other: dict[str, float]) -> StreamRuns:
    """Runs with the same number in every row, of a model and of five of each kind of control model."""

    def rows(values: dict[str, float]) -> StreamRows:
        names = StreamRows.__dataclass_fields__
        return StreamRows(**{name: np.full(ROWS, values.get(name, 0.0)) for name in names})

    kinds = ("untrained", "new_blocks", "permuted_blocks")
    others = dict.fromkeys(kinds, lambda: [rows(other)] * 5)
    return StreamRuns(np.zeros((ROWS, LENGTH), np.int32), rows(own), np.zeros(ROWS), others)


MEASURES = {"sinking": sinking_heads, "massive": massive_rows, "growing": growing_norms, "cosine": anisotropy}


@pytest.mark.parametrize("name", MEASURES)
def test_a_number_is_that_of_the_rows_beside_all_controls(name):
    """The score is the mean over rows, and each kind of control model has its own."""
    measurement = MEASURES[name](made({name: 0.9}, {name: 0.2}))
    assert measurement.score == pytest.approx(0.9)
    reached = {control.name: control.score for control in measurement.controls}
    for kind in ("untrained", "new_blocks", "permuted_blocks"):
        assert reached[kind] == pytest.approx(0.2)
    assert measurement.groups == ROWS


def test_rows_are_those_of_the_study_by_layer(organism):
    """Sinks are the attention that patterns show, growth and cosine those of `residual_stream`'s own functions."""
    tokens = tokens_of(organism)
    rows = stream_rows(organism, tokens)
    assert rows.sinking == pytest.approx(first_token_attention(organism, tokens).shares)
    assert ((rows.growing >= 0) & (rows.growing <= 1)).all()
    assert (np.abs(rows.cosine) <= 1).all()
    shown = residual_stream(organism, LENGTH, ROWS, untrained=3)
    assert rows.cosine.mean() == pytest.approx(shown.cosines["raw"][-1].mean(), abs=0.15)


@pytest.mark.parametrize("seed", range(2))
def test_untrained_models_have_neither_sinks_nor_massive_activations(organism, seed):
    """Initial weights make no head sink and no activation massive."""
    model = list(untrained_models(organism, 2))[seed]
    rows = stream_rows(model, tokens_of(model, seed))
    assert rows.sinking.max() < 0.2
    assert rows.massive.max() == 0
    assert common_massive(model, tokens_of(model, seed)) is None


def test_control_models_run_where_they_are_needed(organism, monkeypatch):
    """Only a measurement that asks for them runs control models, and each of them once."""
    ran = []
    monkeypatch.setattr(
        "lazarus_probe.introspection.geometry.stream_measures.stream_rows",
        lambda model, tokens, seed=0: ran.append(model) or stream_rows(model, tokens, seed),
    )
    runs = stream_runs(organism, control_models(organism, count=3), tokens_of(organism))
    assert len(ran) == 1
    sinking_heads(runs)
    assert len(ran) == 10
    growing_norms(runs)
    assert len(ran) == 10


def test_planted_sinks_are_lost_without_their_activation():
    """Heads that were built to sink for one activation stop without it, and go on where it has its mean."""
    circuit = planted.sink(1, 3)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    tokens = tokens_of(subject)
    tokens[:, 0] = begin_token(subject)
    runs = stream_runs(subject, control_models(subject, count=3), tokens)
    massive = common_massive(subject, tokens)
    assert massive is not None
    assert runs.own.massive.min() == 1
    measurement = sinks_lost(subject, runs, massive)
    assert measurement.damage is None or measurement.damage.n > 0
    lost = {control.name: control.score for control in measurement.controls}
    assert measurement.score > 0.9
    assert set(lost) == {"set_to_mean", "others_zero", "others_pushed"}
    assert max(lost["set_to_mean"], lost["others_zero"]) < 0.1


def test_nothing_is_lost_where_nothing_sinks(organism):
    """A row without sinking heads is refused by name."""
    runs = made({"sinking": 0.0}, {})
    with pytest.raises(ValueError, match="24 of 24 rows have no sinking head"):
        sinks_lost(organism, runs, None)
