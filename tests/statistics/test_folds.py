from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.statistics.folds import grouped_folds, half_of_groups, halves, halves_of_units


def test_no_group_is_on_both_sides():
    """Every row is tested once, on a fold whose groups and no others are held out, classes even."""
    rng = np.random.default_rng(0)
    groups = np.repeat([f"t{i}" for i in range(20)], rng.integers(1, 6, size=20))
    labels = np.array([int(name[1:]) % 2 for name in groups])
    folds = grouped_folds(labels, groups)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(len(groups)))
    assert len(folds) == 5
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])
        assert set(labels[test]) == {0, 1}
        assert len(train) + len(test) == len(groups)


def test_folds_are_no_more_than_the_rarest_class_has_groups():
    """Each class is held out of every fold, so that training never leans away from the class tested."""
    groups = np.arange(12).repeat(3)
    labels = (np.arange(12) < 3).repeat(3).astype(int)
    folds = grouped_folds(labels, groups)
    assert len(folds) == 3
    assert all(labels[test].sum() == 3 for _, test in folds)


def test_probes_without_honest_splits_are_refused():
    """No groups, one group, one class, and a class in one group each raise and say what is needed."""
    with pytest.raises(ValueError, match="a probe with no groups is refused"):
        grouped_folds([0, 1], None)
    with pytest.raises(ValueError, match="at least 2 are needed"):
        grouped_folds([0, 1], ["a", "a"])
    with pytest.raises(ValueError, match="at least two classes"):
        grouped_folds([0, 0], ["a", "b"])
    with pytest.raises(ValueError, match="class add is in one group only"):
        grouped_folds(["mul", "mul", "add"], ["a", "b", "c"])
    with pytest.raises(ValueError, match="at least 2 folds"):
        grouped_folds([0, 1], ["a", "b"], k=1)


def test_halves_share_no_unit_and_can_both_be_tested():
    """No independent unit is in both halves, rows are all used, classes even, and each class has groups in either."""
    rng = np.random.default_rng(1)
    clusters = np.repeat(np.arange(24), 4)
    labels, phrasings = clusters % 3, rng.integers(0, 4, size=96)
    first, second = halves(labels, phrasings, clusters, seed=3)
    assert sorted([*first, *second]) == list(range(96))
    assert not set(clusters[first]) & set(clusters[second])
    for rows in (first, second):
        assert (np.bincount(labels[rows]) == 16).all()
        assert len(grouped_folds(labels[rows], phrasings[rows])) >= 2
    assert not np.array_equal(first, halves(labels, phrasings, clusters, seed=4)[0])


def test_halves_of_numbers_need_no_classes():
    """Numbers are halved by their groups alone."""
    groups = np.repeat(np.arange(9), 2)
    first, second = halves(np.random.default_rng(0).normal(size=18), groups, kind="regression")
    assert not set(groups[first]) & set(groups[second])
    assert {len(first), len(second)} == {8, 10}


def test_too_few_groups_to_halve_are_refused():
    """Where a class has not two groups for either half, the error says so."""
    with pytest.raises(ValueError, match="give more groups"):
        halves(np.repeat([0, 1], 6), np.repeat(np.arange(6), 2))


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_groups_keeps_every_class(seed):
    """Half of the groups stay whole, the others go, and each class keeps half of its groups give or take one."""
    groups = np.arange(30).repeat(2)
    labels = np.minimum(groups % 10, 2)  # two classes are rare
    rows = np.flatnonzero(groups >= 6)
    half = half_of_groups(labels, groups, rows, seed)
    kept = set(groups[half])
    assert len(kept) == 12
    assert sorted(half) == [row for row in rows if groups[row] in kept]
    for label in range(3):
        count = len(set(groups[rows][labels[rows] == label]))
        assert abs(len(set(groups[half][labels[half] == label])) - count / 2) <= 1


def test_halves_of_groups_differ_by_seed_and_repeat():
    """The same seed draws the same half, another seed another."""
    groups, labels, rows = np.arange(40), np.arange(40) % 2, np.arange(40)
    one, same, other = (half_of_groups(labels, groups, rows, seed) for seed in (1, 1, 2))
    assert one.tolist() == same.tolist() != other.tolist()


def test_groups_that_cannot_be_halved_are_refused():
    """Fewer than four groups, and two classes that would not both stay, raise."""
    with pytest.raises(ValueError, match="3 training groups cannot be halved; give at least 4"):
        half_of_groups(np.array([0, 1, 0]), np.arange(3), np.arange(3))
    labels = np.array([0, 1, 2, 3])
    with pytest.raises(ValueError, match="no half of the training groups holds every class"):
        half_of_groups(labels, np.arange(4), np.arange(4))


def test_halves_of_units_keep_units_whole():
    """Every row is in one half, no unit in both, the second half has the odd unit, and the draw is the generator's."""
    units = [f"u{i % 7}" for i in range(30)]
    first, second = halves_of_units(units, np.random.default_rng(0))
    assert sorted([*first, *second]) == list(range(30))
    assert not {units[i] for i in first} & {units[i] for i in second}
    assert len({units[i] for i in second}) == 4
    assert len({tuple(halves_of_units(units, np.random.default_rng(seed))[0]) for seed in range(5)}) > 1
    with pytest.raises(ValueError, match="3 independent units; give at least 4"):
        halves_of_units(["a", "b", "c"], np.random.default_rng(0))
