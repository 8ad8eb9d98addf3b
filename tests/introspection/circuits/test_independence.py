"""HSIC: what depends is told in whatever form, what does not is not, and the statistic is its definition."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kstest

from lazarus_probe.introspection.circuits.independence import dependence


def test_the_statistic_is_its_definition():
    """tr(K H L H) / (n - 1)^2 with Gaussian kernels as wide as the median distance, by plain loops."""
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=12), rng.normal(size=12)

    def gaussian(values):
        pairs = [abs(a - b) for i, a in enumerate(values) for b in values[i + 1 :]]
        return np.array(
            [[np.exp(-((a - b) ** 2) / (2 * np.median(pairs) ** 2)) for b in values] for a in values]
        )

    centre = np.eye(12) - 1 / 12
    expected = np.trace(gaussian(x) @ centre @ gaussian(y) @ centre) / 121
    assert dependence(x, y, draws=9).hsic == pytest.approx(expected)


def test_p_is_uniform_where_nothing_depends():
    """Of independent numbers, skewed ones too, p says what it claims."""
    rng = np.random.default_rng(1)
    p = [
        dependence(rng.normal(size=30), rng.exponential(size=30), draws=99, seed=seed).p
        for seed in range(150)
    ]
    assert kstest(p, "uniform").pvalue > 0.01


@pytest.mark.parametrize("bend", [np.abs, np.square, np.cos, lambda x: x])
def test_any_bend_is_told(bend):
    """A dependence with no correlation is told as well as a straight line."""
    rng = np.random.default_rng(2)
    x = rng.normal(size=80)
    found = dependence(x, bend(2 * x) + 0.1 * rng.normal(size=80))
    assert found.p < 0.01
    assert found.hsic > found.expected


def test_equal_numbers_count_as_ties():
    """Yes and no, most of them equal, are tested too; a permutation that changes nothing is no evidence."""
    x = np.array([0, 1] * 10)
    assert dependence(x, x).p < 0.01
    assert dependence([0] * 19 + [1], [1] + [0] * 19, draws=199).p > 0.5


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        (range(9), range(9), "9 rows show no dependence; give at least 10"),
        (range(12), range(11), "12 numbers and 11 others"),
        ([1] * 12, range(12), "the first numbers are all 1"),
        (range(12), [0.0] * 11 + [np.nan], "second"),
    ],
)
def test_what_cannot_be_tested_is_named(first, second, message):
    """Too few rows, lengths, constants and what is not finite."""
    with pytest.raises(ValueError, match=message):
        dependence(list(first), list(second))
