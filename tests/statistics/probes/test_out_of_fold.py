from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lazarus_probe.statistics.controls import mean_predictions
from lazarus_probe.statistics.folds import grouped_folds, half_of_groups
from lazarus_probe.statistics.probes.capped import number_errors
from lazarus_probe.statistics.probes.out_of_fold import (
    out_of_fold,
    out_of_fold_classification,
    out_of_fold_regression,
)


def template_noise(rng, templates=16, rows=8, width=40):
    """Features that are noise of the template, labels constant in each: (features, labels, groups)."""
    groups = np.repeat(np.arange(templates), rows)
    features = rng.normal(size=(templates, width))[groups] + 0.1 * rng.normal(size=(len(groups), width))
    labels = rng.permutation(np.arange(templates) % 2)[groups]
    return features, labels, groups


def test_noise_of_templates_is_not_decoded():
    """On noise of the template an ungrouped split scores 1, and the grouped one is at chance."""
    rng = np.random.default_rng(1)
    scores, leaked = [], []
    for _ in range(8):
        features, labels, groups = template_noise(rng, rows=4)
        scores.append((out_of_fold_classification(features, labels, groups) == labels).mean())
        for train, test in StratifiedKFold(5, shuffle=True, random_state=0).split(features, labels):
            model = LogisticRegression().fit(features[train], labels[train])
            leaked.append(model.score(features[test], labels[test]))
    assert np.mean(leaked) > 0.99
    assert abs(np.mean(scores) - 0.5) < 0.12


def test_noise_is_not_decoded_below_chance():
    """Held-out groups unbalance training, and still a probe of noise neither leans to nor from the answer."""
    rng = np.random.default_rng(12)
    groups, scores = np.repeat(np.arange(16), 3), []
    for _ in range(18):
        labels = rng.permutation(np.arange(16) % 2)[groups]
        predictions = out_of_fold_classification(rng.normal(size=(48, 2)), labels, groups)
        scores.append((predictions == labels).mean())
    assert abs(np.mean(scores) - 0.5) < 0.04


def test_a_planted_class_is_decoded():
    """A class linear in the features is read on unseen groups, with fewer rows than features or more."""
    rng = np.random.default_rng(2)
    for width in (6, 600):
        groups = np.repeat(np.arange(15), 8)
        labels = np.array(["add", "mul", "sub"])[groups % 3]
        features = rng.normal(size=(120, width)) + 6 * (np.eye(3)[groups % 3] @ rng.normal(size=(3, width)))
        predictions = out_of_fold_classification(features, labels, groups)
        assert (predictions == labels).mean() > 0.95


def test_wide_features_give_the_direct_fit():
    """The fit in the span of the rows predicts what the logistic regression on all features predicts."""
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(4), 15)
    labels = groups % 2
    features = rng.normal(size=(60, 300)) * np.geomspace(0.01, 100, 300) + labels[:, None]
    expected = np.empty(60, dtype=int)
    for train, test in grouped_folds(labels, groups):
        # Two groups are left to train on, one for each class: the penalty is the usual one.
        model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=5000, tol=1e-8))
        expected[test] = model.fit(features[train], labels[train]).predict(features[test])
    assert (out_of_fold_classification(features, labels, groups) == expected).mean() >= 59 / 60


def nested_sklearn(features, labels, groups, strengths):
    """Out-of-fold classes with scikit-learn alone: every penalty fitted in full on every inner fold."""
    predictions, share = np.empty_like(labels), np.bincount(labels) / len(labels)

    def fitted(strength, rows):
        weights = dict(enumerate(share / (np.bincount(labels[rows]) / len(rows))))
        return LogisticRegression(C=strength, class_weight=weights, max_iter=5000).fit(
            scaled[rows], labels[rows]
        )

    for train, test in grouped_folds(labels, groups):
        scaled = StandardScaler().fit(features[train]).transform(features)
        right = np.zeros(len(strengths))
        for a, b in grouped_folds(labels[train], groups[train], 3, 0):
            models = [fitted(strength, train[a]) for strength in strengths]
            right += [(model.predict(scaled[train[b]]) == labels[train[b]]).sum() for model in models]
        predictions[test] = fitted(strengths[right.argmax()], train).predict(scaled[test])
    return predictions


@pytest.mark.parametrize(("classes", "gap"), [(2, 0.5), (4, 0.8)])
def test_the_short_way_to_a_penalty_scores_as_the_long_one(classes, gap):
    """Choosing by one Newton step decodes as well as fitting every penalty in full with scikit-learn."""
    rng, scores = np.random.default_rng(13), []
    for width in (10, 60):
        groups, labels = np.repeat(np.arange(30), 4), np.repeat(np.arange(30) % classes, 4)
        features = rng.normal(size=(120, width)) + rng.normal(size=(30, width))[groups]
        features += gap * (rng.normal(size=(classes, width)) * np.geomspace(1, 0.2, width))[labels]
        ours = out_of_fold_classification(features, labels, groups)
        theirs = nested_sklearn(features, labels, groups, (0.001, 0.01, 0.1, 1.0))
        scores.append([(ours == labels).mean(), (theirs == labels).mean()])
    ours, theirs = np.mean(scores, axis=0)
    assert ours == pytest.approx(theirs, abs=0.04)
    assert 1 / classes + 0.1 < theirs < 0.99


def test_constant_features_predict_a_class():
    """Features that never vary neither fail nor warn, and know nothing."""
    groups = np.repeat(np.arange(8), 4)
    predictions = out_of_fold_classification(np.ones((32, 50)), groups % 2, groups)
    assert (predictions == groups % 2).mean() <= 0.5


def test_features_of_the_wrong_shape_are_refused():
    """Features that are not one finite row for each label raise and are named."""
    groups = [0, 0, 1, 1, 2, 2]
    with pytest.raises(ValueError, match=r"shape \(5, 2\)"):
        out_of_fold_classification(np.zeros((5, 2)), [0, 1] * 3, groups)
    with pytest.raises(ValueError, match="not finite in row 3"):
        out_of_fold_regression(np.diag([0, 0, 0, np.inf, 0, 0]), np.arange(6.0), groups)


def r2(targets: np.ndarray, predictions: np.ndarray, baseline: np.ndarray) -> float:
    """The plain R2 against a baseline."""
    return number_errors(targets, predictions, baseline).r2


def test_ridge_predicts_a_planted_number():
    """A number linear in the features is predicted on unseen groups about as well as by sklearn's ridge."""
    rng = np.random.default_rng(4)
    features, groups = rng.normal(size=(120, 30)), np.repeat(np.arange(15), 8)
    targets = features[:, :5].sum(1) + 0.5 * rng.normal(size=120)
    ours = r2(targets, out_of_fold_regression(features, targets, groups), mean_predictions(targets, groups))
    theirs = np.empty(120)
    for train, test in GroupKFold(5).split(features, groups=groups):
        model = make_pipeline(StandardScaler(), RidgeCV(np.geomspace(0.01, 1000, 11)))
        theirs[test] = model.fit(features[train], targets[train]).predict(features[test])
    assert ours == pytest.approx(r2(targets, theirs, np.full(120, targets.mean())), abs=0.03)


def test_r2_of_noise_and_of_the_baseline():
    """The baseline itself scores 0, the targets 1, and a probe of noise nothing, with n below d too."""
    rng = np.random.default_rng(5)
    groups = np.repeat(np.arange(12), 5)
    targets = rng.normal(size=12)[groups] + 0.2 * rng.normal(size=60)
    baseline = mean_predictions(targets, groups)
    assert r2(targets, baseline, baseline) == 0
    assert r2(targets, targets, baseline) == 1
    noises = rng.normal(size=(10, 12, 200))[:, groups]
    assert np.mean([r2(targets, out_of_fold_regression(n, targets, groups), baseline) for n in noises]) < 0.05


def test_importing_statistics_is_light():
    """Importing the folder brings in neither scikit-learn nor scipy.stats."""
    code = "import sys, lazarus_probe.statistics; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & {"sklearn", "scipy.stats"}


def test_constant_features_predict_the_mean():
    """Features that are the same in every row know nothing but the mean of the training side."""
    groups = np.repeat(np.arange(10), 2)
    targets = np.random.default_rng(0).normal(size=20)
    guesses = out_of_fold_regression(np.ones((20, 5)), targets, groups)
    np.testing.assert_allclose(guesses, mean_predictions(targets, groups))


@pytest.mark.parametrize("kind", ["classification", "regression"])
def test_chosen_penalties_give_the_same_probe_again(kind):
    """Penalties that were chosen before, given, predict the same; of another number than the folds they are refused."""
    rng = np.random.default_rng(8)
    features, groups = rng.normal(size=(60, 8)), np.arange(60) // 3
    labels = np.arange(20).repeat(3) % 2 if kind == "classification" else features[:, 0] + rng.normal(size=60)
    found = out_of_fold(features, labels, groups, kind)
    again = out_of_fold(features, labels, groups, kind, penalties=found.penalties)
    np.testing.assert_array_equal(found.predictions, again.predictions)
    assert len(found.penalties) == 5
    with pytest.raises(ValueError, match="2 penalties for 5 folds; give one for each"):
        out_of_fold(features, labels, groups, kind, penalties=(1.0, 1.0))


def test_half_of_the_groups_teach_less():
    """With half of the training groups a probe that lacks rows is worse, as one fitted by hand on the same rows is."""
    rng = np.random.default_rng(9)
    groups = np.arange(80)
    features = rng.normal(size=(80, 30))
    targets = features @ rng.normal(size=30) + rng.normal(0, 3, size=80)
    found = out_of_fold(features, targets, groups, "regression", half=True)
    full = out_of_fold(features, targets, groups, "regression")
    baseline = mean_predictions(targets, groups)
    assert r2(targets, found.predictions, baseline) < r2(targets, full.predictions, baseline) - 0.1
    train, test = grouped_folds(targets, groups, kind="regression")[0]
    rows = half_of_groups(targets, groups, train, 0, "regression")
    scaled = StandardScaler().fit(features[rows])
    seen, unseen = (scaled.transform(features[part]) for part in (rows, test))
    penalty = found.penalties[0] * (seen**2).sum() / len(seen)
    ridge = Ridge(alpha=penalty).fit(seen, targets[rows])
    np.testing.assert_allclose(found.predictions[test], ridge.predict(unseen), rtol=1e-6)
