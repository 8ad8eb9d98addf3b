"""The best head of a kind: found where it was planted, on rows it was not chosen on, and nowhere in random models."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.ablation.effects import head_sites
from lazarus_probe.introspection.attribution.best_head import (
    best_head,
    best_heads,
    copying_lost,
    head_rows,
    repeated_share,
)
from lazarus_probe.introspection.attribution.head_scores import attention_measured
from lazarus_probe.introspection.attribution.repeated_tokens import repeated_tokens
from lazarus_probe.organisms.planted import induction
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import control_models, untrained_models

LENGTH, ROWS, CHOOSING = 10, 28, 8


@pytest.fixture(scope="module")
def planted():
    """A model with one previous-token head and one induction head, and what its heads do on rows."""
    circuit = induction(layers=3)
    subject = Subject.from_model(circuit.model, circuit.tokenizer, circuit.name)
    drawn = repeated_tokens(subject, LENGTH, ROWS)
    return circuit, subject, drawn, head_rows(subject, control_models(subject, count=3), drawn, CHOOSING)


@pytest.mark.parametrize("kind", ["induction", "previous"])
def test_a_planted_head_is_the_best(planted, kind):
    """The head that was put there is chosen, and attends where it should, beyond all controls."""
    circuit, _, _, rows = planted
    measurement = best_head(rows, kind)
    assert (measurement.details["layer"], measurement.details["head"]) == circuit.heads[kind]
    assert measurement.score > 0.8
    assert min(control.gain for control in measurement.controls) > 0.4
    assert {control.name for control in measurement.controls} >= {
        "untrained",
        "new_blocks",
        "permuted_blocks",
    }


def test_a_score_is_the_mean_attention_on_rows_not_chosen_on(planted):
    """The score is that of the head's own patterns, rows of the choice left out."""
    *_, rows = planted
    measurement = best_head(rows, "induction")
    layer, head = measurement.details["layer"], measurement.details["head"]
    assert measurement.score == pytest.approx(rows.own.scores["induction"][CHOOSING:, layer, head].mean())
    assert measurement.n == ROWS - CHOOSING


@pytest.mark.parametrize("seed", range(3))
def test_no_head_of_an_untrained_model_is_one(organism, seed):
    """The best of all heads, measured on other rows, attends no more to the repeated place than in another order."""
    model = list(untrained_models(organism, 3))[seed]
    drawn = repeated_tokens(model, LENGTH, ROWS, seed=seed)
    measured = attention_measured(model, drawn)
    (layer, head), *_ = best_heads(measured, "induction", CHOOSING)
    gain = (measured.scores["induction"] - measured.controls["induction"])[CHOOSING:, layer, head]
    assert abs(gain.mean()) < 0.05


def test_without_planted_heads_copying_is_lost(planted):
    """The model repeats tokens through its induction head: without it hardly any, and without others all."""
    circuit, subject, drawn, _ = planted
    assert repeated_share(subject, drawn, CHOOSING) > 0.8
    measurement = copying_lost(subject, drawn, [circuit.heads["induction"]], CHOOSING)
    assert measurement.score > 0.8
    (other,) = measurement.controls
    assert (other.name, other.score < 0.5) == ("other_heads", True)
    assert measurement.damage is not None


def test_what_repeats_nothing_has_nothing_to_lose(organism):
    """A model that repeats no token is refused, and so are more heads than there are others."""
    model = organism.untrained(0)
    drawn = repeated_tokens(model, LENGTH, ROWS)
    heads = [(site.layer, site.head) for site in head_sites(model)]
    with pytest.raises(ValueError, match=r"heads to ablate, and \d+ others; give fewer"):
        copying_lost(model, drawn, heads, CHOOSING)
    with pytest.raises(ValueError, match="repeats no token of the second half"):
        copying_lost(model, drawn, heads[:1], CHOOSING)


def test_rows_are_left_to_measure_on(organism):
    """As many rows to choose on as there are is refused."""
    drawn = repeated_tokens(organism, LENGTH, ROWS)
    with pytest.raises(ValueError, match="28 of 28 rows to choose on"):
        head_rows(organism, control_models(organism, count=3), drawn, ROWS)


def test_heads_are_ranked_by_their_gain():
    """The largest gains come first; heads without attention never do."""
    scores = np.full((4, 2, 2), 0.1)
    scores[:, 1, 0], scores[:, 0, 1] = 0.9, np.nan
    measured = type("M", (), {"scores": {"x": scores}, "controls": {"x": np.zeros_like(scores)}})
    assert best_heads(measured, "x", 2, 1) == [(1, 0)]
    with pytest.raises(ValueError, match="4 heads of 3"):
        best_heads(measured, "x", 2, 4)
