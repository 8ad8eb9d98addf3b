from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from lazarus_probe.statistics import (
    cluster_bootstrap,
    cluster_bootstrap_mean,
    cluster_bootstrap_means,
    exact,
    paired_interval,
    proportion_interval,
    wilson,
)


@pytest.mark.parametrize("successes", [0, 1, 7, 15, 16])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_proportions_agree_with_scipy(successes, level):
    """Wilson and exact intervals are those of scipy's binomial test."""
    trial = stats.binomtest(successes, 16)
    for ours, method in ((wilson, "wilson"), (exact, "exact")):
        interval, reference = ours(successes, 16, level), trial.proportion_ci(level, method)
        assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_eight_of_eight_does_not_beat_two_of_eight():
    """The exact intervals of 8/8 and 2/8 overlap: eight prompts are too few for that comparison."""
    assert exact(8, 8).low < exact(2, 8).high


def test_counts_out_of_range_are_refused():
    """Impossible counts and levels raise and say what would be right."""
    with pytest.raises(ValueError, match="at least one trial"):
        wilson(0, 0)
    with pytest.raises(ValueError, match=r"must lie in 0\.\.5"):
        exact(6, 5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        wilson(1, 2, level=95)


def test_bootstrap_agrees_with_scipy_when_each_row_is_a_cluster():
    """With one row a cluster, the interval is scipy's BCa interval of the mean."""
    values = np.random.default_rng(0).exponential(size=40)
    ours = cluster_bootstrap_mean(values, np.arange(40), draws=20_000)
    theirs = stats.bootstrap((values,), np.mean, n_resamples=20_000, rng=np.random.default_rng(1))
    reference = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((reference.low, reference.high), abs=0.02)


def test_vectorised_bootstrap_agrees_with_the_general_one():
    """Resampling cluster sums gives the interval that resampling rows of whole clusters gives."""
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(12), rng.integers(2, 9, size=12))
    values = rng.normal(size=len(clusters)) + rng.normal(size=12)[clusters]
    fast = cluster_bootstrap_mean(values, clusters, draws=6000)
    slow = cluster_bootstrap(lambda rows: float(values[rows].mean()), clusters, draws=6000, seed=1)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=0.06)


def test_columns_share_resamples():
    """Each column of `cluster_bootstrap_means` gets the interval it gets alone."""
    rng = np.random.default_rng(3)
    values, clusters = rng.normal(size=(60, 3)), np.repeat(np.arange(15), 4)
    alone = tuple(cluster_bootstrap_mean(values[:, k], clusters, draws=200) for k in range(3))
    for together, single in zip(cluster_bootstrap_means(values, clusters, draws=200), alone, strict=True):
        assert (together.low, together.high) == pytest.approx((single.low, single.high))


def test_clusters_widen_the_interval():
    """Ten copies of each row, kept together, are worth no more than one."""
    values = np.random.default_rng(4).normal(size=20)
    once = cluster_bootstrap_mean(values, np.arange(20))
    copied = cluster_bootstrap_mean(np.repeat(values, 10), np.repeat(np.arange(20), 10))
    assert copied.width == pytest.approx(once.width)


def test_equal_values_have_no_width():
    """The bootstrap of a constant is that constant."""
    interval = cluster_bootstrap_mean([0.1] * 9, np.repeat([0, 1, 2], [1, 3, 5]))
    assert (interval.low, interval.high) == pytest.approx((0.1, 0.1), abs=1e-12)
    assert interval.width == 0


def test_a_single_cluster_is_refused():
    """One cluster shows no spread between clusters, so there is no interval."""
    with pytest.raises(ValueError, match="at least 2"):
        cluster_bootstrap_mean([1.0, 2.0], ["a", "a"])


def test_an_undefined_statistic_is_refused():
    """A statistic that is not finite on some resample raises and says so."""
    with pytest.raises(ValueError, match="not finite on some resample"):
        cluster_bootstrap(lambda rows: float("nan") if 0 not in rows else 1.0, [0, 1, 2], draws=50)


def test_a_perfect_score_is_worth_its_clusters():
    """All right in 10 clusters is an interval down to Wilson's 10 of 10, however many rows there are."""
    interval = proportion_interval(np.ones(400), np.repeat(np.arange(10), 40))
    assert (interval.low, interval.high) == pytest.approx((wilson(10, 10).low, 1.0))


def test_one_error_does_not_narrow_the_interval():
    """399 of 400 is no better evidence than 400 of 400."""
    correct = np.ones(400)
    correct[0] = 0
    interval = proportion_interval(correct, np.repeat(np.arange(10), 40))
    assert interval.low <= wilson(10, 10).low


def test_unclustered_rows_have_the_wilson_interval():
    """With one row a cluster, nothing is narrower than Wilson and little is wider."""
    correct = np.arange(60) < 45
    interval, plain = proportion_interval(correct, np.arange(60)), wilson(45, 60)
    assert interval.low <= plain.low < interval.low + 0.03
    assert interval.high - 0.03 < plain.high <= interval.high


def test_few_clusters_are_worth_less():
    """Half right in each of 4 clusters is Wilson's interval of fewer trials, by the ratio of t quantiles."""
    interval = proportion_interval([0, 1] * 40, np.repeat(np.arange(4), 20))
    n = 80 * (stats.t.ppf(0.975, 79) / stats.t.ppf(0.975, 3)) ** 2
    z = stats.norm.ppf(0.975)
    assert interval.width == pytest.approx(z / np.sqrt(n + z * z))


@pytest.mark.parametrize(("clusters", "share", "alike"), [(5, 0.9, 0.5), (10, 0.98, 0.5), (20, 0.5, 0.1)])
def test_proportion_intervals_cover(clusters, share, alike):
    """Clustered trials of a known rate are covered as often as the level says."""
    rng = np.random.default_rng(5)
    index = np.repeat(np.arange(clusters), 12)
    weight = 1 / alike - 1
    rates = rng.beta(share * weight, (1 - share) * weight, size=(200, clusters))
    covered = 0
    for rate in rates:
        interval = proportion_interval(rng.random(len(index)) < rate[index], index, draws=200)
        covered += interval.low <= share <= interval.high
    assert stats.binomtest(covered, 200, 0.95, alternative="less").pvalue > 0.01


def test_the_plain_bootstrap_would_not_cover():
    """The guard is needed: the bootstrap alone covers a rate of .9 in 5 clusters far less than 95%."""
    rng = np.random.default_rng(6)
    index, covered = np.repeat(np.arange(5), 12), 0
    for rate in rng.beta(0.9, 0.1, size=(200, 5)):
        interval = cluster_bootstrap_mean(rng.random(60) < rate[index], index, draws=200)
        covered += interval.low <= 0.9 <= interval.high
    assert covered < 170


def test_no_change_seen_is_not_no_change():
    """All differences 0 in G clusters leave room for the share of clusters that could change unseen."""
    interval = paired_interval(np.zeros(80), np.repeat(np.arange(10), 8))
    assert interval.high == pytest.approx(1 - 0.05 ** (1 / 10))
    assert interval.low == -interval.high


def test_few_clusters_have_the_t_interval():
    """With few clusters the interval is no narrower than the t interval of their means."""
    means = np.array([0.1, 0.3, 0.2, 0.15])
    interval = paired_interval(np.repeat(means, 5), np.repeat(np.arange(4), 5))
    reference = stats.ttest_1samp(means, 0).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((reference.low, reference.high))


def test_changes_that_cancel_inside_clusters_leave_a_width():
    """Clusters with equal means are not taken for certainty, even where their rows differ."""
    assert paired_interval([1, -1] * 6, np.repeat(np.arange(6), 2)).width > 0.5


def test_the_guard_narrows_with_the_number_of_clusters():
    """What cannot be seen shrinks as one over the number of clusters."""
    widths = [paired_interval(np.zeros(n), np.arange(n)).width for n in (10, 100, 1000)]
    assert widths[0] > 8 * widths[1] > 64 * widths[2]


@pytest.mark.parametrize(("clusters", "gains", "losses"), [(5, 0.3, 0.1), (10, 0.01, 0.01), (30, 0.0, 0.08)])
def test_paired_intervals_cover(clusters, gains, losses):
    """Paired differences of a known mean are covered as often as the level says."""
    rng = np.random.default_rng(7)
    index, covered = np.repeat(np.arange(clusters), 8), 0
    for _ in range(200):
        chance = rng.random(len(index))
        differences = np.where(chance < gains, 1.0, np.where(chance < gains + losses, -1.0, 0.0))
        interval = paired_interval(differences, index, draws=200)
        covered += interval.low <= gains - losses <= interval.high
    assert stats.binomtest(covered, 200, 0.95, alternative="less").pvalue > 0.01


def test_values_outside_their_range_are_refused():
    """Differences beyond 1 and outcomes other than 0 and 1 raise and are named."""
    with pytest.raises(ValueError, match=r"holds 1\.5"):
        paired_interval([0.1, 1.5], [0, 1])
    with pytest.raises(ValueError, match="other than 0 and 1"):
        proportion_interval([0.5, 1.0], [0, 1])
    with pytest.raises(ValueError, match=r"values\[1\] is not finite"):
        cluster_bootstrap_mean([0.5, float("nan")], [0, 1])
    with pytest.raises(ValueError, match="one cluster for each of the 2 rows"):
        paired_interval([0.1, 0.2], [0, 1, 2])


def test_intervals_print_briefly():
    """An interval prints as its two ends, and holds plain floats that a report can carry."""
    interval = paired_interval([0.5, 0.1, -0.2, 0.3], [0, 1, 2, 3])
    assert str(wilson(5, 10)) == "[0.24, 0.76]"
    assert type(interval.low) is float
    assert type(interval.high) is float
