"""The folds of grouped cross-validation are scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from lazarus_probe.statistics.stratified_groups import stratified_group_folds


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("case", range(40))
def test_folds_are_those_of_scikit_learn(case):
    """Row for row, for two to nine classes, groups of one row to many, mixed classes or not, and two to eight folds."""
    rng = np.random.default_rng(case)
    groups, classes, k = int(rng.integers(20, 90)), 2 + case % 8, 2 + case % 7
    sizes = rng.integers(1, 2 + case % 5, groups)
    index = rng.permutation(np.repeat(np.arange(groups), sizes))
    pure = rng.integers(0, classes, groups)[index]
    codes = np.unique(pure if case % 3 else rng.integers(0, classes, len(index)), return_inverse=True)[1]
    index = np.unique(index, return_inverse=True)[1]
    splitter = StratifiedGroupKFold(k, shuffle=True, random_state=case)
    expected = list(splitter.split(index, codes, index))
    folds = stratified_group_folds(codes, index, k, case)
    assert len(folds) == k
    for (train, test), (train_there, test_there) in zip(folds, expected, strict=True):
        np.testing.assert_array_equal(train, train_there)
        np.testing.assert_array_equal(test, test_there)


def test_even_designs_are_those_of_scikit_learn():
    """Where all groups have the same rows of the same classes, all spreads tie and the order decides."""
    index = np.repeat(np.arange(48), 4)
    for codes in (index % 2, index % 6, np.tile([0, 0, 1, 2], 48)):
        splitter = StratifiedGroupKFold(5, shuffle=True, random_state=3)
        expected = [test.tolist() for _, test in splitter.split(index, codes, index)]
        assert [test.tolist() for _, test in stratified_group_folds(codes, index, 5, 3)] == expected
