"""The direction between two classes, against scikit-learn and NumPy, and what it is worth out of sample."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.directions.class_direction import (
    METHODS,
    SHRINKAGE,
    Method,
    class_direction,
    fit_direction,
    top_coordinates,
)
from lazarus_probe.statistics.folds import grouped_folds


def planted(shift: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Two classes of 20 rows, a shift apart along the third of 60 coordinates, of unequal scales."""
    rng = np.random.default_rng(seed)
    is_a = np.arange(40) < 20
    features = rng.normal(size=(40, 60)) * np.linspace(0.5, 4, 60)
    features[is_a, 2] += shift
    return features, is_a


def test_the_difference_is_of_means() -> None:
    """`difference_of_means` is the mean of class a less that of class b."""
    features, is_a = planted(3.0)
    expected = features[is_a].mean(0) - features[~is_a].mean(0)
    assert np.allclose(class_direction(features, is_a, np.arange(40), "difference_of_means").vector, expected)


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


def test_the_discriminant_is_sklearns() -> None:
    """`lda` points where scikit-learn's does with the same shrinkage, also with more coordinates than rows."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    features, is_a = planted(3.0)
    for rows in (features[:, :12], features):
        model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE).fit(rows, is_a)
        direction, expected = fit_direction(rows, is_a, "lda"), model.coef_[0]
        cosine = direction @ expected / np.linalg.norm(direction) / np.linalg.norm(expected)
        assert cosine > (0.9999 if rows.shape[1] < 40 else 0.98)


@pytest.mark.parametrize("method", METHODS)
def test_held_out_numbers_are_those_of_a_naive_loop(method: Method) -> None:
    """Accuracy and separation are of rows that the direction was not made from, fold by fold."""
    features, is_a = planted(4.0)
    if method == "logistic":
        features = (features - features.mean(0)) / features.std(0)
    groups = np.arange(40) // 2
    along = np.zeros(40)
    for train, test in grouped_folds(is_a, groups):
        direction = naive_direction(features[train], is_a[train], method)
        direction /= np.linalg.norm(direction)
        ends = [features[train][is_a[train] == side].mean(0) @ direction for side in (True, False)]
        along[test] = features[test] @ direction - np.mean(ends)
    a, b = along[is_a], along[~is_a]
    pooled = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
    found = class_direction(features, is_a, groups, method)
    assert found.accuracy == pytest.approx(np.mean((along > 0) == is_a))
    tolerance = 1e-2 if method == "logistic" else 1e-6  # a fit stops where its slope is small
    assert found.separation == pytest.approx((a.mean() - b.mean()) / pooled, rel=tolerance)
    assert found.interval.low <= found.accuracy <= found.interval.high


def naive_direction(rows: np.ndarray, is_a: np.ndarray, method: Method) -> np.ndarray:
    """The direction by scikit-learn, or by hand."""
    from sklearn.linear_model import LogisticRegression

    if method == "logistic":
        fit = LogisticRegression(C=0.1, tol=1e-10, max_iter=5000).fit(rows - rows.mean(0), is_a)
        return np.array(fit.coef_[0])
    gap = rows[is_a].mean(0) - rows[~is_a].mean(0)
    if method == "difference_of_means":
        return np.asarray(gap)
    within = np.concatenate([rows[side] - rows[side].mean(0) for side in (is_a, ~is_a)])
    covariance = within.T @ within / len(rows)
    level = np.trace(covariance) / len(rows)  # as many dimensions as the rows can span
    return np.linalg.solve((1 - SHRINKAGE) * covariance + SHRINKAGE * level * np.eye(60), gap)


def test_noise_separates_in_sample_only() -> None:
    """Between classes of noise the projections lie apart, and held-out rows do not."""
    found = [class_direction(*planted(0.0, seed), np.arange(40), "logistic") for seed in range(6)]
    assert min(each.class_a_mean_projection - each.class_b_mean_projection for each in found) > 1
    assert abs(np.mean([each.separation for each in found if each.separation is not None])) < 0.4
    assert 0.3 < np.mean([each.accuracy for each in found]) < 0.65


def test_the_largest_weights_come_first() -> None:
    """`top_neurons` is ordered by the size of the weight, and a planted coordinate leads it."""
    features, is_a = planted(6.0)
    top = class_direction(features, is_a, np.arange(40), "difference_of_means").top_neurons(5)
    assert top[0][0] == 2
    assert [abs(weight) for _, weight in top] == sorted((abs(weight) for _, weight in top), reverse=True)


def test_what_has_no_direction_is_refused() -> None:
    """Classes of one mean, and unknown methods, are errors."""
    with pytest.raises(ValueError, match="same mean"):
        class_direction(np.ones((8, 3)), np.arange(8) < 4, np.arange(8), "difference_of_means")
    with pytest.raises(ValueError, match="'pca' is unknown"):
        fit_direction(np.eye(4), np.arange(4) < 2, "pca")  # type: ignore[arg-type]


def test_the_largest_weights_of_either_sign_come_first() -> None:
    """A direction's neurons are in the order of the size of their weights."""
    assert top_coordinates(np.array([0.1, -3, 2, 0]), 3) == [1, 2, 0]
