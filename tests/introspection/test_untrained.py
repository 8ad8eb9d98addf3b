"""Gains over several untrained models: their numbers, and how often one untrained model exceeds five others."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.untrained import over_untrained, untrained_models
from lazarus_probe.statistics import Interval


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
