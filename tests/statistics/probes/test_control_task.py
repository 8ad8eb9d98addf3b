from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from lazarus_probe.statistics.probes.control_task import (
    control_numbers,
    control_task,
    enough_types,
    memorable,
    recurring,
)
from lazarus_probe.statistics.probes.out_of_fold import out_of_fold_classification


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
    assert abs(scores[0] - scores[1]) < 0.05


def test_classes_are_dealt_by_their_shares():
    """A class three times as common is dealt to three times as many types."""
    labels = control_task(np.arange(40), 2, shares=[3, 1])
    assert Counter(labels.tolist()) == {0: 30, 1: 10}


def test_control_numbers_are_one_number_a_type():
    """A type has one number wherever it occurs, drawn from the targets."""
    types, targets = np.random.default_rng(4).integers(0, 10, size=60), np.arange(60.0)
    numbers = control_numbers(types, targets)
    assert len({(int(t), float(n)) for t, n in zip(types, numbers, strict=True)}) == 10
    assert set(numbers) <= set(targets)
    assert (numbers != control_numbers(types, targets, seed=1)).any()


def test_types_must_recur_across_groups():
    """A type counts where it is in two groups; twice in one group is not enough."""
    assert recurring(["a", "a", "b", "b", "a"], [0, 0, 1, 1, 2]).tolist() == [True, True, False, False, True]


def test_too_few_types_are_no_control_task():
    """Too few types, or types that most prompts share with no other group, are named instead of measured."""
    groups = np.repeat(np.arange(10), 4)
    assert enough_types(np.arange(40) % 7, groups, 2) == "7 types recur across groups, 8 are needed"
    lone = np.where(np.arange(40) < 18, np.arange(40) % 9, np.arange(40))
    assert "18 of 40 prompts" in str(enough_types(lone, groups, 2))
    assert np.asarray(enough_types(np.arange(40) % 9, groups, 2)).all()
    assert np.asarray(enough_types(np.arange(40) % 9, groups, None)).all()


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_the_column_that_tells_of_the_label_is_memorable(kind):
    """Of several candidates it is the one whose types go with the label in other groups; of noise there is none."""
    rng = np.random.default_rng(5)
    columns, groups = rng.integers(0, 9, size=(120, 4)), np.repeat(np.arange(30), 4)
    told = columns[:, 2] % 2 if kind == "classification" else columns[:, 2] + rng.normal(size=120)
    column, gain = memorable(columns, told, groups, kind)
    assert column == 2
    assert gain > 0.3
    if kind == "regression":
        assert memorable(columns, rng.normal(size=120), groups, kind) is None


def test_what_only_its_own_group_says_is_not_memorable():
    """A type seen with its label in one group alone tells nothing of other groups."""
    groups = np.repeat(np.arange(20), 3)
    assert memorable(groups[:, None], groups % 2, groups, "classification") is None


def test_the_table_is_what_a_loop_over_groups_gives():
    """The table's accuracy is that of looking each type up among the rows of other groups, one by one."""
    from lazarus_probe.statistics.probes.control_task import _table_gain

    rng = np.random.default_rng(6)
    types, groups, labels = rng.integers(0, 5, 60), np.repeat(np.arange(12), 5), rng.integers(0, 3, 60)
    right = 0
    for row in range(60):
        others = labels[(types == types[row]) & (groups != groups[row])]
        counts = np.bincount(others, minlength=3) + 1e-3 * np.bincount(labels) / 60
        right += counts.argmax() == labels[row]
    gain = _table_gain(types, np.eye(3)[labels], groups, "classification")
    assert gain == pytest.approx(right / 60 - np.bincount(labels).max() / 60)
