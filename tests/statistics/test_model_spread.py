"""Gains over several untrained models: their numbers, and how often one untrained model exceeds five others."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.probing.probe import ProbeDataset, probe
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.model_spread import model_spread, over_untrained
from lazarus_probe.statistics.probes.held_out import (
    HeldOut,
    Problem,
    gain_over,
    held_out,
    held_out_models,
    mean_of,
    over_models,
)
from lazarus_probe.subject import Subject
from lazarus_probe.subject.control_models import checked_models, control_models, untrained_models


def test_untrained_models_differ(grouped):
    """Each has the architecture and weights of its own."""
    found = list(untrained_models(grouped, 3))
    assert len({model.fingerprint for model in (*found, grouped)}) == 4
    assert {model.num_layers for model in found} == {grouped.num_layers}


def test_the_gain_is_over_the_mean(grouped):
    """The control's score is the mean of the models; equal models leave the score's own interval."""
    control = over_untrained(0.75, Interval(0.5, 0.875), [0.25, 0.25, 0.25])
    assert (control.score, control.gain, control.low, control.high) == (0.25, 0.5, 0.25, 0.625)


def test_one_more_untrained_model_is_seldom_beyond_the_others():
    """Null: of 4000 untrained models with a score known exactly, about 2.5% lie above the interval of five others."""
    drawn = np.random.default_rng(0).normal(0.5, 0.1, size=(4000, 6))
    beyond = [over_untrained(row[0], Interval(row[0], row[0]), row[1:]).low > 0 for row in drawn]
    assert 0.015 < np.mean(beyond) < 0.035


def test_two_untrained_models_have_no_spread():
    """Fewer than three untrained models are refused."""
    with pytest.raises(ValueError, match="2 untrained models; give at least 3"):
        over_untrained(0.5, Interval(0.4, 0.6), [0.1, 0.2])


def test_a_gain_over_several_models_is_that_over_their_mean():
    """Score and gain are those of the mean model; models that agree leave the paired interval as it is."""
    rng = np.random.default_rng(1)
    score, *models = (
        HeldOut(np.zeros(40), hits.astype(float), np.ones(40))
        for hits in rng.random((4, 40)) < [[0.9]] + [[0.5]] * 3
    )
    units, scores = np.arange(40), [each.score for each in models]
    control = over_models("untrained", score, models, units, "classification", 0)
    assert control.score == pytest.approx(np.mean(scores))
    assert control.gain == pytest.approx(score.score - np.mean(scores))
    paired = gain_over("untrained", score, mean_of(models), units, "classification", 0)
    reach = model_spread(scores)
    assert control.spread == reach
    assert control.gain - control.low == pytest.approx(np.hypot(paired.gain - paired.low, reach))
    alike = over_models("untrained", score, [models[0]] * 3, units, "classification", 0)
    assert alike.spread == pytest.approx(0, abs=1e-12)
    plain = gain_over("untrained", score, mean_of([models[0]] * 3), units, "classification", 0)
    assert replace(alike, spread=0.0) == plain


def test_the_reach_is_the_t_prediction_interval():
    """Of five scores it is t of four degrees of freedom times their deviation times the root of 6/5."""
    scores = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert model_spread(scores) == pytest.approx(2.7764451 * np.std(scores, ddof=1) * np.sqrt(1.2))


@pytest.mark.parametrize(
    ("models", "message"),
    [
        (
            lambda subject, _: subject.untrained(1),
            "one untrained model, grouped-untrained-1, shows no spread.*at least 3",
        ),
        (
            lambda subject, _: control_models(subject)[0],
            "one untrained model, grouped-untrained-1000, shows no spread",
        ),
        (
            lambda subject, _: control_models(subject, count=2),
            "2 untrained models show no spread.*at least 3",
        ),
        (lambda subject, _: [subject.untrained(1)] * 3, "hold one model twice; give each another seed"),
        (
            lambda _, other: control_models(other),
            "deeper-untrained-1000 is of another architecture than grouped: "
            "its num_hidden_layers is 5, not 4; give at least 3",
        ),
    ],
)
def test_models_that_make_no_control_are_refused(grouped, make_llama, tokenizer, models, message):
    """One model alone, too few, one twice, and models of another architecture are named with what is right."""
    other = Subject.from_model(
        make_llama(0, num_key_value_heads=2, tie_word_embeddings=False, num_hidden_layers=5),
        tokenizer,
        "deeper",
    )
    with pytest.raises(ValueError, match=message):
        checked_models(grouped, models(grouped, other))


def test_subjects_and_recipes_are_one_control(grouped):
    """Untrained models given as they are, or as recipes, give the same measurement."""
    rows = np.arange(24)
    asked = ProbeDataset([f"{row} + 1 = " for row in rows], rows % 2, rows // 2)
    ways = (untrained_models(grouped, 3), control_models(grouped, count=3))
    one, other = (probe(grouped, models, asked, Site("resid_post", 1)) for models in ways)
    assert one == other


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_penalties_are_chosen_once_for_all_models(kind):
    """The first model's probe is the plain one; the others take its penalties, and reach what a full fit does."""
    rng = np.random.default_rng(2)
    labels = np.arange(120) % 3 if kind == "classification" else rng.normal(size=120)
    groups, signal = (
        np.arange(120) // 3,
        labels[:, None] == np.arange(3) if kind == "classification" else labels[:, None],
    )
    noise = rng.normal(size=(8, 120, 30))
    features = [np.concatenate([signal + each[:, :1], each[:, 1:]], axis=1) for each in noise]
    problems = [Problem.of(each, labels, groups, kind, 0) for each in features]
    shared, full = held_out_models(problems), [held_out(each) for each in problems]
    assert shared[0] is full[0]
    assert {each.penalties for each in shared} == {full[0].penalties}
    assert np.mean([each.score for each in shared]) == pytest.approx(
        np.mean([each.score for each in full]), abs=0.03
    )
    again = held_out_models([Problem.of(each.copy(), labels, groups, kind, 0) for each in features])
    for one, other in zip(shared, again, strict=True):
        np.testing.assert_array_equal(one.predictions, other.predictions)
