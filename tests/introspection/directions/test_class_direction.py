"""The direction between two classes, against scikit-learn and NumPy, and what it is worth out of sample."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest

from lazarus_probe.introspection.directions.class_direction import class_direction, cohens_d, fit_direction
from lazarus_probe.statistics import grouped_folds


def planted(shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of 20 rows, a shift apart along the third of 60 coordinates, of unequal scales."""
    rng = np.random.default_rng(seed)
    is_a = np.arange(40) < 20
    features = rng.normal(size=(40, 60)) * np.linspace(0.5, 4, 60)
    features[is_a, 2] += shift
    return features, is_a


def test_the_difference_is_of_means() -> None:
    """`difference` is the mean of class a less that of class b."""
    features, is_a = planted(3.0)
    expected = features[is_a].mean(0) - features[~is_a].mean(0)
    assert np.allclose(class_direction(features, is_a, np.arange(40), "difference").vector, expected)


def test_the_logistic_direction_is_the_coefficient_in_raw_units() -> None:
    """`logistic` is parallel to scikit-learn's coefficient over the deviations, and as long as the means are apart."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    features, is_a = planted(3.0)
    scaler = StandardScaler().fit(features)
    fit = LogisticRegression(C=0.1, tol=1e-10, max_iter=5000).fit(scaler.transform(features), is_a)
    raw = fit.coef_[0] / scaler.scale_
    found = fit_direction(features, is_a, "logistic")
    unit = raw / np.linalg.norm(raw)
    assert found @ unit / np.linalg.norm(found) == pytest.approx(1, abs=1e-3)
    gap = features[is_a].mean(0) - features[~is_a].mean(0)
    assert np.linalg.norm(found) == pytest.approx(gap @ unit, rel=1e-2)


@pytest.mark.parametrize("method", ["logistic", "difference"])
def test_held_out_numbers_are_those_of_a_naive_loop(method: Literal["logistic", "difference"]) -> None:
    """Accuracy and separation are of rows that the direction was not made from, fold by fold."""
    features, is_a = planted(4.0)
    groups = np.arange(40) // 2
    along = np.zeros(40)
    for train, test in grouped_folds(is_a, groups):
        direction = fit_direction(features[train], is_a[train], method)
        direction /= np.linalg.norm(direction)
        ends = [features[train][is_a[train] == side].mean(0) @ direction for side in (True, False)]
        along[test] = features[test] @ direction - np.mean(ends)
    a, b = along[is_a], along[~is_a]
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    found = class_direction(features, is_a, groups, method)
    assert found.accuracy == pytest.approx(np.mean((along > 0) == is_a))
    assert found.separation == pytest.approx((a.mean() - b.mean()) / pooled)
    assert found.interval.low <= found.accuracy <= found.interval.high


def test_noise_separates_in_sample_only() -> None:
    """Between classes of noise the projections lie apart, and held-out rows do not."""
    found = [class_direction(*planted(0.0, seed), np.arange(40), "logistic") for seed in range(6)]
    assert min(each.class_a_mean_projection - each.class_b_mean_projection for each in found) > 1
    assert abs(np.mean([each.separation for each in found if each.separation is not None])) < 0.4
    assert 0.3 < np.mean([each.accuracy for each in found]) < 0.65


def test_the_largest_weights_come_first() -> None:
    """`top_neurons` is ordered by the size of the weight, and a planted coordinate leads it."""
    features, is_a = planted(6.0)
    top = class_direction(features, is_a, np.arange(40), "difference").top_neurons(5)
    assert top[0][0] == 2
    assert [abs(weight) for _, weight in top] == sorted((abs(weight) for _, weight in top), reverse=True)


def test_what_has_no_direction_is_refused() -> None:
    """Classes of one mean, and unknown methods, are errors; without spread there is no d."""
    with pytest.raises(ValueError, match="same mean"):
        class_direction(np.ones((8, 3)), np.arange(8) < 4, np.arange(8), "difference")
    with pytest.raises(ValueError, match="'pca' is unknown"):
        fit_direction(np.eye(4), np.arange(4) < 2, "pca")  # type: ignore[arg-type]
    assert cohens_d(np.ones(3), np.zeros(3)) is None
