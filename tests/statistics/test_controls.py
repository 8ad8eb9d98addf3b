from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lazarus_probe.statistics import (
    bag_of_tokens,
    control_task,
    grouped_folds,
    majority_predictions,
    mean_predictions,
    out_of_fold_classification,
    paired_control,
    paired_interval,
    selectivity,
)


def test_the_majority_is_the_best_constant():
    """The control scores the share of the commonest class, also where held-out groups unbalance training."""
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


def test_control_task_is_one_class_a_type():
    """A type has one class wherever it occurs, classes are dealt evenly, and the seed decides."""
    types = np.random.default_rng(2).integers(0, 30, size=400)
    labels = control_task(types, classes=3)
    pairs = {(int(t), int(c)) for t, c in zip(types, labels, strict=True)}
    assert len(pairs) == len(np.unique(types)) == 30
    assert set(Counter(c for _, c in pairs).values()) == {10}
    assert (labels != control_task(types, classes=3, seed=1)).any()
    with pytest.raises(ValueError, match="2 to 30 classes"):
        control_task(types, classes=31)


def test_memory_has_no_selectivity():
    """Features that only tell types apart decode the control task as well: selectivity about 0."""
    rng = np.random.default_rng(3)
    types, groups = np.tile(np.arange(24), 6), np.repeat(np.arange(6), 24)
    features = rng.normal(size=(24, 64))[types] + 0.05 * rng.normal(size=(144, 64))
    task, control = types % 2, control_task(types, 2)
    scores = [(out_of_fold_classification(features, y, groups) == y).mean() for y in (task, control)]
    assert scores[0] > 0.95
    assert abs(selectivity(scores[0], scores[1])) < 0.05


def test_selectivity_is_of_accuracies():
    """Selectivity is the difference, and refuses what is no accuracy."""
    assert selectivity(0.9, 0.6) == pytest.approx(0.3)
    with pytest.raises(ValueError, match=r"control_accuracy is 60"):
        selectivity(0.9, 60)


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
