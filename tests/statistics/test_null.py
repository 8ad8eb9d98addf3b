from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GroupKFold, permutation_test_score
from sklearn.preprocessing import StandardScaler

from lazarus_probe.statistics.folds import grouped_folds
from lazarus_probe.statistics.null import permutation_null
from lazarus_probe.statistics.permutation import group_permutations, max_statistic_p
from tests.cases import slow_except


def template_noise(rng, templates=16, rows=8, width=40):
    """Features that are noise of the template, labels constant in each: (features, labels, groups)."""
    groups = np.repeat(np.arange(templates), rows)
    features = rng.normal(size=(templates, width))[groups] + 0.1 * rng.normal(size=(len(groups), width))
    labels = rng.permutation(np.arange(templates) % 2)[groups]
    return features, labels, groups


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
            if kind == "regression":
                left += np.minimum((truth[test] - mean - guess) ** 2, labels.var()).sum()
                total += np.minimum((truth[test] - mean) ** 2, labels.var()).sum()
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
    monkeypatch.setattr("lazarus_probe.statistics.null.BLOCK", 1000)
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


def false_alarms(make, repeats=200, draws=59):
    """How often p is at most .05 on features that know nothing of the labels, and whether that is too often."""
    rng, alarms = np.random.default_rng(20), 0
    for _ in range(repeats):
        labels, groups = make(rng)
        features = rng.normal(size=(groups.max() + 1, 12))[groups] + 0.3 * rng.normal(size=(len(groups), 12))
        alarms += (
            permutation_null(features, labels, groups, draws=draws, seed=int(rng.integers(1 << 30))).p <= 0.05
        )
    test = stats.binomtest(alarms, repeats, 0.05, alternative="greater")
    return alarms / repeats, test.pvalue


def of_any_size(rng):
    groups = np.repeat(np.arange(14), rng.integers(1, 9, size=14))
    return rng.permutation(np.arange(14) % 2)[groups], groups


def large_where_true(rng):
    groups = np.repeat(np.arange(14), np.where(np.arange(14) % 2, 8, 2))
    return groups % 2, groups


def of_four_sizes(rng):
    groups = np.repeat(np.arange(16), [[9, 9, 2, 1][group % 4] for group in range(16)])
    return groups % 4, groups


def some_mixed(rng):
    groups = np.repeat(np.arange(16), rng.integers(1, 5, size=16))
    labels = (rng.random(len(groups)) < 0.7).astype(int)
    labels[groups < 4] = np.arange(4)[groups[groups < 4]] % 2
    return labels, groups


@pytest.mark.parametrize(
    "make", slow_except([of_any_size, large_where_true, of_four_sizes, some_mixed], of_any_size, some_mixed)
)
def test_groups_of_other_sizes_and_kinds_raise_no_false_alarm(make):
    """The rate of p <= .05 is no more than .05 where groups differ in size, size goes with class, or labels mix."""
    rate, p = false_alarms(make)
    assert p > 0.01, f"{rate:.3f} of nulls have p <= .05"


def test_blocks_of_templates_raise_no_false_alarm():
    """Rows that fill one template for each label of a group are as good as one; with blocks kept, p holds its rate."""
    rng, alarms, blocks = np.random.default_rng(25), 0, np.repeat(np.arange(24), 4)
    labels, groups = blocks % 2, blocks // 2
    for _ in range(200):
        features = rng.normal(size=(24, 12))[blocks] + 0.3 * rng.normal(size=(96, 12))
        test = permutation_null(
            features, labels, groups, 59, seed=int(rng.integers(1 << 30)), keep_blocks=True
        )
        alarms += test.p <= 0.05
    assert stats.binomtest(alarms, 200, 0.05, alternative="greater").pvalue > 0.01


def test_numbers_raise_no_false_alarm():
    """Numbers that groups share in part, on features that groups share in part, have p <= .05 in 5% of nulls."""
    rng, alarms, groups = np.random.default_rng(23), 0, np.repeat(np.arange(18), [1, 2, 3] * 6)
    for _ in range(200):
        targets = rng.normal(size=18)[groups] + 0.5 * rng.normal(size=36)
        features = rng.normal(size=(18, 8))[groups] + 0.3 * rng.normal(size=(36, 8))
        alarms += (
            permutation_null(features, targets, groups, 59, int(rng.integers(1 << 30)), "regression").p
            <= 0.05
        )
    assert stats.binomtest(alarms, 200, 0.05, alternative="greater").pvalue > 0.01


def test_numbers_that_hardly_vary_inside_groups_are_found():
    """A number read from group to group has a small p, though inside groups only its noise is left."""
    rng, groups = np.random.default_rng(24), np.repeat(np.arange(20), 3)
    features = rng.normal(size=(20, 5))[groups] + 0.01 * rng.normal(size=(60, 5))
    targets = features[:, 0] + 0.05 * rng.normal(size=60)
    assert permutation_null(features, targets, groups, draws=199, kind="regression").p <= 0.01


def test_a_signal_is_found_whatever_the_groups():
    """Groups of unequal size, of sizes that go with the class, and mixed ones do not hide a plain label."""
    rng = np.random.default_rng(21)
    for make in (of_any_size, large_where_true, of_four_sizes, some_mixed):
        labels, groups = make(rng)
        features = rng.normal(size=(len(groups), 8)) + 4 * rng.normal(size=(4, 8))[labels]
        assert permutation_null(features, labels, groups, draws=199).p <= 0.02, make.__name__


def test_a_thousand_permutations_take_less_than_a_second():
    """1000 group permutations of 240 rows of width 2048 cost less than a second of one thread."""
    import time

    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(22)
    features, groups, costs = rng.normal(size=(240, 2048)), np.repeat(np.arange(60), 4), []
    with threadpool_limits(1, "blas"):
        for _ in range(2):
            start = time.process_time()
            permutation_null(features, groups % 3, groups, draws=1000)
            costs.append(time.process_time() - start)
    assert min(costs) < 1.0
