from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.statistics.permutation import (
    group_permutations,
    largest_statistic_p,
    max_statistic_p,
    other_signs,
    permutation_p,
    sign_flip,
    step_down_p,
)


def test_constant_labels_move_between_groups():
    """Labels constant in each group stay constant there, and the groups exchange them."""
    groups = np.repeat(["a", "b", "c", "d"], [1, 2, 3, 4])
    labels = np.repeat([0, 0, 1, 1], [1, 2, 3, 4])
    shuffled = group_permutations(labels, groups, np.random.default_rng(0), 200)
    of_group = np.stack([shuffled[:, groups == name][:, 0] for name in "abcd"], axis=1)
    for name, label in zip("abcd", of_group.T, strict=True):
        assert (shuffled[:, groups == name] == label[:, None]).all()
    assert (of_group.sum(1) == 2).all()
    assert len(np.unique(of_group, axis=0)) == 6


def test_varied_labels_are_shuffled_inside_groups_and_between_those_of_a_size():
    """Groups of one size exchange all they hold, their rows in any order; a group of another size keeps its own."""
    groups = np.array([0, 1, 0, 1, 0, 1, 2, 2])
    labels = np.array(["x", "u", "y", "v", "y", "v", "p", "q"])
    shuffled = group_permutations(labels, groups, np.random.default_rng(0), 400)
    held = {("".join(sorted(row[groups == 0])), "".join(sorted(row[groups == 1]))) for row in shuffled}
    assert held == {("xyy", "uvv"), ("uvv", "xyy")}
    assert {tuple(sorted(row[6:])) for row in shuffled} == {("p", "q")}
    assert len(np.unique(shuffled, axis=0)) == 2 * 3 * 3 * 2


def test_groups_of_one_label_exchange_it_with_mixed_ones():
    """Where some groups hold one label and some several, those of equal size exchange all their labels."""
    groups, labels = np.repeat([0, 1, 2, 3], [2, 2, 1, 1]), np.array([0, 1, 2, 2, 3, 4])
    shuffled = group_permutations(labels, groups, np.random.default_rng(0), 300)
    assert {tuple(row[:4]) for row in shuffled} == {(0, 1, 2, 2), (1, 0, 2, 2), (2, 2, 0, 1), (2, 2, 1, 0)}
    assert {tuple(row[4:]) for row in shuffled} == {(3, 4), (4, 3)}


def test_blocks_are_kept_inside_groups():
    """With `keep_blocks`, the rows of one group and label stay together, and each group exchanges only its own."""
    groups, labels = np.repeat(np.arange(16), 6), np.tile([0, 0, 0, 1, 1, 1], 16)
    shuffled = group_permutations(labels, groups, np.random.default_rng(0), 200, keep_blocks=True)
    moved = (shuffled != labels).reshape(200, 16, 6)
    assert (moved.all(axis=2) | ~moved.any(axis=2)).all()
    assert 0.4 < moved.mean() < 0.6
    of_one_label = group_permutations(groups % 2, groups, np.random.default_rng(0), 50, keep_blocks=True)
    plain = group_permutations(groups % 2, groups, np.random.default_rng(0), 50)
    assert of_one_label.tolist() == plain.tolist()


def test_a_single_label_is_refused():
    """Where there is nothing to shuffle, the error says what to give."""
    with pytest.raises(ValueError, match="nothing to shuffle"):
        group_permutations([1, 1, 1], [0, 1, 2], np.random.default_rng(0), 5)


def test_p_counts_the_observed_among_the_draws():
    """The p is (1 + k) / (n + 1), ties count, and it is never 0."""
    assert permutation_p(0.9, [0.1, 0.9, 0.95]) == 3 / 4
    assert permutation_p(2.0, np.zeros(999)) == 1 / 1000
    assert permutation_p(0.1 + 0.2, [0.3]) == 1.0
    with pytest.raises(ValueError, match="null"):
        permutation_p(0.5, [])


def test_sign_flip_agrees_with_scipy():
    """One row a cluster gives scipy's exact paired permutation test, for each alternative."""
    differences = np.random.default_rng(1).normal(0.5, 1, size=10)
    for alternative in ("two-sided", "greater", "less"):
        reference = stats.permutation_test(
            (differences,),
            np.mean,
            permutation_type="samples",
            n_resamples=np.inf,
            alternative=alternative,
            vectorized=True,
        )
        ours = sign_flip(differences, np.arange(10), alternative=alternative)
        if alternative == "two-sided":
            assert ours == pytest.approx(reference.pvalue, abs=0.01)
        else:
            assert ours == pytest.approx(reference.pvalue)


def test_sign_flip_enumerates_clusters():
    """Few clusters are enumerated: p is the share of sign patterns whose mean is as far from 0."""
    differences, clusters = np.array([0.3, 0.2, 0.5, -0.1, 0.4]), np.array([0, 0, 1, 1, 2])
    sums = np.array([0.5, 0.4, 0.4])
    means = [abs(np.dot(signs, sums)) for signs in itertools.product([-1, 1], repeat=3)]
    assert sign_flip(differences, clusters) == np.mean([m >= sums.sum() - 1e-9 for m in means]) == 1 / 4


def test_drawn_signs_approach_the_enumeration():
    """Drawing sign patterns gives the enumerated p within the error of the draws."""
    differences = np.random.default_rng(2).normal(0.4, 1, size=12)
    enumerated = sign_flip(differences, np.arange(12))
    assert sign_flip(differences, np.arange(12), draws=4000) == pytest.approx(enumerated, abs=0.03)


def test_no_difference_has_p_one():
    """Differences that are all 0 are no evidence, with few clusters or many."""
    assert sign_flip(np.zeros(40), np.arange(40), draws=99) == 1.0
    assert sign_flip(np.zeros(4), np.arange(4)) == 1.0
    with pytest.raises(ValueError, match="'greater'"):
        sign_flip([0.1, 0.2], [0, 1], alternative="up")


def test_sign_flip_keeps_its_false_alarm_rate_on_clusters():
    """Differences shared within clusters and null on average give p below .05 in 5% of repetitions."""
    rng = np.random.default_rng(3)
    clusters = np.repeat(np.arange(9), 6)
    shared = rng.normal(size=(300, 9))[:, clusters] + 0.3 * rng.normal(size=(300, 54))
    alarms = sum(sign_flip(row, clusters) <= 0.05 for row in shared)
    assert stats.binomtest(alarms, 300, 0.05).pvalue > 0.01


def test_max_statistic_agrees_with_a_loop():
    """Each p counts the draws in which the best of all layers reaches that layer's score."""
    rng = np.random.default_rng(4)
    observed, null = rng.normal(size=5), rng.normal(size=(99, 5))
    expected = [(1 + sum(max(row) >= score for row in null)) / 100 for score in observed]
    assert max_statistic_p(observed, null).tolist() == expected


def test_the_largest_statistic_is_enough():
    """Where only the largest of every draw is kept p is the same, and a draw that ties up to rounding counts."""
    rng = np.random.default_rng(4)
    observed, null = rng.integers(0, 4, size=5).astype(float), rng.integers(0, 4, size=(99, 5)) * (1 - 1e-12)
    expected = [(1 + sum(round(max(row)) >= score for row in null)) / 100 for score in observed]
    assert largest_statistic_p(observed, null.max(axis=1)).tolist() == expected
    assert max_statistic_p(observed, null).tolist() == expected
    with pytest.raises(ValueError, match=r"largest\[0\] is not finite"):
        largest_statistic_p([1.0], [np.nan])


def test_max_statistic_keeps_the_family_wise_rate():
    """The smallest of 20 p values is below .05 in 5% of nulls; uncorrected it is in most."""
    rng = np.random.default_rng(5)
    corrected = uncorrected = 0
    for _ in range(300):
        scores = rng.normal(size=(200, 20))
        corrected += max_statistic_p(scores[0], scores[1:]).min() <= 0.05
        uncorrected += min(permutation_p(scores[0, k], scores[1:, k]) for k in range(20)) <= 0.05
    assert stats.binomtest(corrected, 300, 0.05).pvalue > 0.01
    assert uncorrected > 120


def test_step_down_agrees_with_a_loop():
    """Each p counts the draws in which the best of the statistics from this one down reaches it; none falls again."""
    rng = np.random.default_rng(6)
    observed, null = np.array([0.3, 2.0, -0.4, 1.1, 1.1]), rng.normal(size=(199, 5))
    expected, least = {}, 0.0
    for k in sorted(range(5), key=lambda k: -observed[k]):
        rest = [j for j in range(5) if j not in expected]
        least = max(least, (1 + sum(max(row[rest]) >= observed[k] for row in null)) / 200)
        expected[k] = least
    assert step_down_p(observed, null).tolist() == pytest.approx([expected[k] for k in range(5)])
    assert (step_down_p(observed, null) <= max_statistic_p(observed, null)).all()


@pytest.mark.parametrize("rows", [5, 8, 16])
@pytest.mark.parametrize("tails", ["light", "heavy"])
def test_step_down_keeps_the_family_wise_rate_among_real_effects(rows, tails):
    """Few rows, statistics that depend on each other, tails without a variance: a null is called real in 5% at most."""
    rng = np.random.default_rng(rows)
    signs, alarms, missed = other_signs(rows, 500), 0, 0
    for _ in range(400):
        draw = rng.normal if tails == "light" else lambda size: rng.standard_t(2, size=size)
        values = draw(size=(rows, 30)) + draw(size=(rows, 3))[:, rng.integers(3, size=30)]
        values[:, :4] = 40 + rng.normal(size=(rows, 4))  # real ones, larger than the nulls in every row
        p = step_down_p(values.mean(0), signs @ values / rows)
        alarms += (p[4:] <= 0.05).any()
        missed += (p[:4] > 0.05).any()
    assert stats.binomtest(alarms, 400, 0.05, alternative="greater").pvalue > 0.01
    assert missed <= (0 if tails == "light" else 40)


def test_all_other_signs_are_counted_where_they_are_few():
    """Each pattern but the observed one once; among too many, as many as are wanted."""
    assert {tuple(row) for row in other_signs(3)} == set(itertools.product((1, -1), repeat=3)) - {(1, 1, 1)}
    assert other_signs(20, 50).shape == (50, 20)
    with pytest.raises(ValueError, match="rows is 0"):
        other_signs(0)


def test_shapes_of_the_null_are_checked():
    """A null without a column for each statistic, or with undefined scores, is refused."""
    with pytest.raises(ValueError, match=r"\(draws, 2\)"):
        max_statistic_p([1.0, 2.0], np.zeros((9, 3)))
    with pytest.raises(ValueError, match="not finite"):
        max_statistic_p([1.0], [[np.nan]])
