from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.controls import (
    bag_of_tokens,
    majority_predictions,
    mean_predictions,
    paired_control,
)
from lazarus_probe.statistics.folds import grouped_folds
from lazarus_probe.statistics.probes.out_of_fold import out_of_fold_classification


def test_the_majority_is_the_best_constant():
    """The control scores the share of the majority class, also where held-out groups unbalance training."""
    labels = np.array(["no", "yes", "yes", "no", "yes"])
    assert majority_predictions(labels).tolist() == ["yes"] * 5
    balanced = np.arange(4) % 2
    assert (majority_predictions(balanced) == balanced).mean() == 0.5
    with pytest.raises(ValueError, match="at least one"):
        majority_predictions([])


def test_mean_predictions_leave_the_group_out():
    """Each row's mean is over the groups that its fold trains on."""
    rng = np.random.default_rng(0)
    targets, groups = rng.normal(size=30), np.repeat(np.arange(10), 3)
    predictions = mean_predictions(targets, groups, k=5, seed=3)
    for train, test in grouped_folds(targets, groups, 5, 3, "regression"):
        assert predictions[test] == pytest.approx(np.full(len(test), targets[train].mean()))


def test_bag_of_tokens_counts():
    """Each column counts one token that occurs, in order of ids, for prompts of any length."""
    prompts = [[5, 9, 5], [], [2]]
    expected = [[Counter(ids)[token] for token in (2, 5, 9)] for ids in prompts]
    assert bag_of_tokens(prompts).tolist() == expected
    with pytest.raises(ValueError, match="no token"):
        bag_of_tokens([[], []])


def test_a_bag_of_tokens_decodes_the_operator():
    """The operator is read from the tokens alone: a probe that does so shows nothing of a model."""
    rng = np.random.default_rng(1)
    operator = np.arange(120) % 3
    left, right = rng.integers(0, 50, size=(2, 120))
    prompts = np.stack([left, 100 + operator, right], axis=1).tolist()
    predictions = out_of_fold_classification(bag_of_tokens(prompts), operator, np.arange(120) // 6)
    assert (predictions == operator).mean() > 0.95


def test_paired_control_is_the_difference_row_by_row():
    """The gain is the mean difference on the same rows, and of a positive control the other way round."""
    rng = np.random.default_rng(0)
    score, other, clusters = rng.random(60) < 0.8, rng.random(60) < 0.4, np.arange(60) // 3
    found = paired_control("other", score, other, clusters, seed=1)
    assert found.score == pytest.approx(other.mean())
    assert found.gain == pytest.approx(score.mean() - other.mean())
    interval = paired_interval(score.astype(float) - other, clusters, seed=1)
    assert (found.low, found.high) == (interval.low, interval.high)
    turned = paired_control("other", score, other, clusters, seed=1, positive=True)
    assert turned.gain == pytest.approx(-found.gain)
    assert turned.score == found.score
