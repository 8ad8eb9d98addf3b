"""Massive activations and attention sinks: none in models that have none, all that were planted, against loops."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.interventions import Intervention
from lazarus_probe.hooks.outliers import SINK, massive_activations, outliers, sinks_of
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.introspection.capture.capture_report import capture_report
from lazarus_probe.subject.subject import Subject

PROMPT = "7 * 8 = "


def pushed(layer: int, position: int, dimension: int, value: float) -> Intervention:
    """An edit that writes one activation."""

    def push(state: mx.array) -> mx.array:
        return mx.where(mx.arange(state.shape[-1]) == dimension, value, state)

    return Intervention(f"resid_post.{layer}", push, [position], "plant")


def all_to(position: int) -> list[Intervention]:
    """Edits that make every head of the organism attend to one position, from it on."""

    def sink(pattern: mx.array) -> mx.array:
        length = pattern.shape[-1]
        one = (mx.arange(length) == position).astype(pattern.dtype)
        return mx.where((mx.arange(length) >= position)[:, None], one[None], pattern)

    return [Intervention(f"pattern.{layer}", sink, "all", "sink") for layer in range(8)]


@pytest.mark.parametrize("seed", range(3))
def test_an_untrained_model_has_none(organism: Subject, seed: int) -> None:
    """Random weights make neither a massive activation nor a sink, in prompts of any length; nor has the organism."""
    for model in (organism.untrained(seed), organism):
        for prompt in (
            "a",
            "7 * 8 = ",
            "The capital of France is",
            "Once upon a time there was a. It was so",
        ):
            result = outliers(model, prompt)
            assert (result.positions, result.sinks, result.massive) == ((), (), ())


def test_a_planted_massive_activation_is_named(organism: Subject) -> None:
    """Layer, position, dimension, value and median are those of the state that was written into."""
    plain = np.abs(np.array(trace(organism, PROMPT, "resid_post.3")["resid_post.3"][0]))
    with hooked(organism, interventions=[pushed(3, 1, 77, -9000.0)]):
        result = outliers(organism, PROMPT)
    first = result.massive[0]
    assert (first.layer, first.position, first.dimension, first.value) == (3, 1, 77, -9000.0)
    assert first.median == pytest.approx(np.median(plain), rel=0.01)
    assert first.ratio == pytest.approx(9000 / np.median(plain), rel=0.01)
    assert {activation.layer for activation in result.massive} == {3, 4, 5, 6, 7}  # the stream keeps it
    assert result.positions == (1,)
    assert "massive activation: -9,0" in result.described(1)
    assert result.as_data()["massive"][0]["dimension"] == 77


@pytest.mark.parametrize(("value", "massive"), [(99.0, 0), (101.0, 1), (-101.0, 1)])
def test_both_conditions_count(value: float, massive: int) -> None:
    """An activation is massive above 100, and from 1,000 times the median of the whole hidden state on."""
    states = np.full((4, 10), 0.05)
    states[2, 5] = value
    assert len(massive_activations(states, 0)) == massive
    assert massive_activations(states * 3, 0) == massive_activations(3 * states, 0)
    states[:, 1:] += 0.2
    states[2, 5] = value
    assert massive_activations(states, 0) == []


def test_a_planted_sink_is_named(organism: Subject) -> None:
    """Where all heads attend to one token it is a sink of all of them, and no other position is one."""
    for position in (0, 2):
        with hooked(organism, interventions=all_to(position)):
            result = outliers(organism, PROMPT)
        assert result.sinks == result.positions == (position,)
        assert result.sink_shares[position] == 1
        assert "an attention sink of 100% of the heads" in result.described(position)


def test_a_head_sinks_beyond_an_even_share() -> None:
    """By loops: the mean attention of later queries, of what is possible beyond an even one."""
    rng = np.random.default_rng(0)
    patterns = np.tril(rng.exponential(size=(40, 5, 5)) ** 3 + 1e-9)
    patterns /= patterns.sum(axis=-1, keepdims=True)
    measured = sinks_of(patterns)
    assert 0 < measured.sum() < measured.size
    for head, position in np.ndindex(measured.shape):
        queries = range(position + 1, 5)
        received = np.mean([patterns[head, query, position] for query in queries])
        even = np.mean([1 / (query + 1) for query in queries])
        assert measured[head, position] == ((received - even) / (1 - even) > SINK)
    uniform = np.tril(np.ones((1, 9, 9))) / np.arange(1, 10)[:, None]
    assert not sinks_of(uniform).any()


def test_nothing_is_left_out_where_nothing_would_stay(organism: Subject) -> None:
    """Of a prompt that is all outliers the averages are over all of it."""
    ids = organism.encode("a")[:1]
    with hooked(organism, interventions=[pushed(2, 0, 5, 9000.0)]):
        result = outliers(organism, ids)
    assert result.massive
    assert result.positions == ()


def test_averages_leave_outliers_out(organism: Subject) -> None:
    """The mean norm is that of the other positions, attention is shown beside the sink, and both are said."""
    edits: list[Any] = [pushed(3, 0, 77, 9000.0), *all_to(0)]
    with hooked(organism, interventions=edits):
        report = capture_report(organism, PROMPT, [4], attention=True, lens=False)
        all_of_it = capture_report(organism, PROMPT, [4], attention=True, lens=False, keep_outliers=True)
        states = np.array(trace(organism, PROMPT, "resid_post.4")["resid_post.4"][0])
    norms = np.linalg.norm(states, axis=1)
    (layer,), (raw,) = report.layers, all_of_it.layers
    assert layer.mean_norm == pytest.approx(norms[1:].mean(), rel=1e-4)
    assert raw.mean_norm == pytest.approx(norms.mean(), rel=1e-4)
    assert layer.median_norm == raw.median_norm == pytest.approx(np.median(norms), rel=1e-4)
    assert layer.mean_norm < raw.mean_norm / 5
    assert layer.attention is not None
    assert raw.attention is not None
    assert (layer.attention.outliers, raw.attention.outliers) == (pytest.approx(1), 0)
    assert 0 not in layer.attention.positions
    assert raw.attention.positions[0] == 0
    assert report.notes()[0].startswith(
        "Left out of averages: position 0 ('<|begin|>'), an attention sink of 100% of"
    )
    assert report.as_data()["outliers"]["positions"] == [0]
    assert (all_of_it.notes(), all_of_it.as_data()["outliers"]) == ([], None)
