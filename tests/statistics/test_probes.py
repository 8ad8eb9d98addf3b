from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV
from sklearn.model_selection import GroupKFold, StratifiedKFold, permutation_test_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lazarus_probe.statistics import (
    group_permutations,
    grouped_folds,
    max_statistic_p,
    mean_predictions,
    out_of_fold_classification,
    out_of_fold_regression,
    permutation_null,
    r2,
)


def template_noise(rng, templates=16, rows=8, width=40):
    """Features that are noise of the template, labels constant in each: (features, labels, groups)."""
    groups = np.repeat(np.arange(templates), rows)
    features = rng.normal(size=(templates, width))[groups] + 0.1 * rng.normal(size=(len(groups), width))
    labels = rng.permutation(np.arange(templates) % 2)[groups]
    return features, labels, groups


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
    with pytest.raises(ValueError, match="without variance"):
        r2([1.0, 1.0], [0.0, 1.0], [1.0, 1.0])
    with pytest.raises(ValueError, match="must have one length"):
        r2([1.0, 2.0], [0.0, 1.0], [1.0])


def naive_scores(features, rows, groups, kind):
    """Each row of labels scored by refitting sklearn's ridge on every fold."""
    classes, scores = np.unique(rows[0]), []
    folds = grouped_folds(rows[0], groups, 10, 0, "regression")
    for labels in rows:
        correct = left = total = 0.0
        for train, test in folds:
            scaler = StandardScaler().fit(features[train])
            seen, unseen = scaler.transform(features[train]), scaler.transform(features[test])
            truth = labels[:, None] == classes if kind == "classification" else labels[:, None]
            mean = truth[train].mean(0)
            penalty = (seen**2).sum() / len(seen)
            guess = Ridge(penalty, fit_intercept=False).fit(seen, truth[train] - mean).predict(unseen)
            guess = guess.reshape(len(test), -1)
            correct += (classes[guess.argmax(1)] == labels[test]).sum()
            left += ((truth[test] - mean - guess) ** 2).sum()
            total += ((truth[test] - mean) ** 2).sum()
        scores.append(correct / len(groups) if kind == "classification" else 1 - left / total)
    return np.array(scores)


@pytest.mark.parametrize("kind", ["classification", "regression"])
@pytest.mark.parametrize("width", [10, 90])
def test_dual_ridge_equals_refitting(kind, width):
    """The one matrix product scores every shuffle as a ridge refitted on that shuffle does."""
    rng = np.random.default_rng(6)
    groups = np.repeat(np.arange(12), 4)
    labels = groups % 3 if kind == "classification" else rng.normal(size=48)
    features = rng.normal(size=(48, width)) + 0.5 * np.asarray(labels)[:, None]
    test = permutation_null(features, labels, groups, draws=12, seed=0, kind=kind)
    shuffles = group_permutations(labels, groups, np.random.default_rng(0), 12)
    expected = naive_scores(features, np.concatenate([[labels], shuffles]), groups, kind)
    assert [test.observed, *test.null] == pytest.approx(expected.tolist())


def test_blocks_do_not_change_the_null(monkeypatch):
    """Shuffles handled in several matrix products score as in one."""
    features, labels, groups = template_noise(np.random.default_rng(7))
    whole = permutation_null(features, labels, groups, draws=40)
    monkeypatch.setattr("lazarus_probe.statistics.probes.BLOCK", 1000)
    parts = permutation_null(features, labels, groups, draws=40)
    assert whole.observed == parts.observed
    assert whole.null.tolist() == parts.null.tolist()


@pytest.mark.parametrize("varied", [False, True])
def test_permutation_p_is_calibrated_on_noise(varied):
    """On template noise p keeps its false-alarm rate, and is uniform once ties are broken at random.

    Both for labels that change between groups and for labels that change inside them.
    """
    rng = np.random.default_rng(8)
    p, unbound = [], []
    for _ in range(200):
        features, labels, groups = template_noise(rng, templates=9, rows=4, width=20)
        labels = rng.permuted(np.tile([0, 1, 0, 1], (9, 1)), axis=1).ravel() if varied else labels
        test = permutation_null(features, labels, groups, draws=59)
        above, ties = (test.null > test.observed).sum(), 1 + (test.null == test.observed).sum()
        p.append(test.p)
        unbound.append((above + rng.random() * ties) / 60)
    alarms = sum(value <= 0.05 for value in p)
    assert stats.binomtest(alarms, 200, 0.05, alternative="greater").pvalue > 0.01
    assert stats.binomtest(sum(value <= 0.05 for value in unbound), 200, 0.05).pvalue > 0.01
    assert stats.kstest(unbound, "uniform").pvalue > 0.01


def test_constant_labels_are_tested_where_sklearn_cannot():
    """A plain label constant in each group has a small p; shuffled within groups it has p = 1."""
    rng = np.random.default_rng(9)
    groups = np.repeat(np.arange(12), 5)
    labels = groups % 2
    features = rng.normal(size=(60, 20)) + 2 * labels[:, None]
    _, _, within = permutation_test_score(
        LogisticRegression(), features, labels, groups=groups, cv=GroupKFold(4), n_permutations=9
    )
    assert within == 1.0
    assert permutation_null(features, labels, groups, draws=999).p < 0.01


def test_the_grouped_null_is_not_one_over_k():
    """Chance with few groups is spread wider than with free rows, so a score well above 1/k can be chance."""
    features, labels, groups = template_noise(np.random.default_rng(10), templates=8, rows=30)
    grouped = permutation_null(features, labels, groups, draws=300).null
    free = np.sqrt(0.25 / len(labels))
    assert grouped.std() > 3 * free


def test_layers_share_their_shuffles():
    """With one seed the nulls of layers line up, and the max statistic finds only the planted layer."""
    rng = np.random.default_rng(11)
    groups = np.repeat(np.arange(20), 4)
    labels = groups % 2
    layers = rng.normal(size=(5, 20, 16))[:, groups] + 0.1 * rng.normal(size=(5, 80, 16))
    layers[3] += 3 * labels[:, None]
    tests = [permutation_null(layer, labels, groups, draws=199) for layer in layers]
    p = max_statistic_p([t.observed for t in tests], np.stack([t.null for t in tests], axis=1))
    assert p[3] <= 0.01
    assert (np.delete(p, 3) > 0.05).all()
    twice = permutation_null(layers[3], labels, groups, draws=199)
    assert twice.null.tolist() == tests[3].null.tolist()


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
