"""Ridges at many penalties are those of scikit-learn, by whichever system is smaller."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from lazarus_probe.statistics.probes.linear import ridge_paths


@pytest.mark.parametrize("width", [3, 40, 90])
def test_ridge_paths_are_those_of_scikit_learn(width):
    """With fewer columns than rows, as many and more, each fold's predictions at each penalty are scikit-learn's."""
    rng = np.random.default_rng(width)
    features, targets = rng.normal(1.0, 2.0, (40, width)), rng.normal(size=(40, 2))
    folds = [
        (np.arange(40)[rows], np.arange(40)[~rows]) for rows in (np.arange(40) % 3 > 0, np.arange(40) < 25)
    ]
    penalties = (0.5, 10.0)
    for (train, test), paths in zip(folds, ridge_paths(features, targets, folds, penalties), strict=True):
        for penalty, path in zip(penalties, paths, strict=True):
            fit = Ridge(penalty).fit(features[train], targets[train])
            expected = fit.predict(features[test]) - targets[train].mean(0)
            np.testing.assert_allclose(path, expected, atol=1e-8)
