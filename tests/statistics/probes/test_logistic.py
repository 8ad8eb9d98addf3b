from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import approx_fprime
from sklearn.linear_model import LogisticRegression

from lazarus_probe.statistics.probes.logistic import _loss, fit_logistic, indicate


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("width", [6, 90])
@pytest.mark.parametrize("strength", [0.001, 0.1, 1.0])
def test_the_fit_is_that_of_scikit_learn(classes, width, strength):
    """Probabilities are scikit-learn's, with fewer features than rows or more, weighted or not."""
    rng = np.random.default_rng(0)
    codes = rng.integers(0, classes, size=70)
    features = rng.normal(size=(70, width)) + rng.normal(size=(classes, width))[codes]
    features -= features.mean(0)
    for shares in (None, rng.dirichlet(np.ones(classes))):
        weights = None if shares is None else dict(enumerate(shares / (np.bincount(codes) / 70)))
        model = LogisticRegression(C=strength, class_weight=weights, tol=1e-9, max_iter=10_000)
        expected = model.fit(features, codes).predict_proba(features)
        ours = fit_logistic(features, codes, strength, shares, tolerance=1e-7).probabilities(features)
        assert ours == pytest.approx(expected, abs=1e-3)
        rough = fit_logistic(features, codes, strength, shares)
        assert (rough.scores(features).argmax(1) == expected.argmax(1)).mean() > 0.97


@pytest.mark.parametrize("classes", [2, 4])
def test_the_slope_is_the_slope_of_the_loss(classes):
    """The slope given to the optimiser is that of finite differences."""
    rng = np.random.default_rng(1)
    codes, features = np.arange(20) % classes, rng.normal(size=(20, 3))
    loss = _loss(features, indicate(codes), rng.dirichlet(np.ones(20)), 0.3)
    at = rng.normal(size=4 * (1 if classes == 2 else classes))
    assert loss(at)[1] == pytest.approx(approx_fprime(at, lambda x: loss(x)[0]), abs=1e-6)


def test_features_that_say_nothing_give_the_shares():
    """Constant features leave each class its weight."""
    codes = np.array([0, 0, 0, 1])
    assert fit_logistic(np.zeros((4, 2)), codes, 0.1).probabilities(np.zeros((1, 2)))[0] == pytest.approx(
        [0.75, 0.25], abs=1e-3
    )
