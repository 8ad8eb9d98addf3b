"""Neurons that tell labels apart: against a naive loop, and against searches that must find nothing."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from lazarus_probe.introspection.probing.separating_neurons import (
    best_neuron,
    least_p,
    null_separations,
    separating,
    separation,
)
from lazarus_probe.statistics.permutation import largest_statistic_p
from lazarus_probe.subject import Subject

PROMPTS = [f"{a} + {a + 3} = " for a in range(2, 18)]


def test_separation_is_that_of_a_naive_loop() -> None:
    """The largest difference of two classes' means in their pooled sample deviations, column by column."""
    rng = np.random.default_rng(0)
    values, codes = rng.normal(5, 2, (14, 7)), np.array([0] * 5 + [1] * 6 + [2] * 3)
    found = separation(values, codes)
    for column, each in zip(values.T, found, strict=True):
        best = 0.0
        for i, j in combinations(range(3), 2):
            a, b = column[codes == i], column[codes == j]
            pooled = np.sqrt(
                ((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2)
            )
            best = max(best, abs(a.mean() - b.mean()) / pooled)
        assert each == pytest.approx(best)


def test_single_rows_are_held_against_the_spread_of_all() -> None:
    """Classes of one row have no spread: the deviation of all rows stands in; constant columns separate nothing."""
    values = np.array([[1.0, 2.0], [4.0, 2.0]])
    assert separation(values, np.array([0, 1])).tolist() == pytest.approx([3.0 / 1.5, 0.0])
    exact = separation(np.array([[1.0], [1.0], [2.0], [2.0]]), np.array([0, 0, 1, 1]))
    assert exact[0] == pytest.approx(1 / (1e-3 * 0.5))


def test_the_null_is_of_the_best_and_keeps_its_rate() -> None:
    """Over searches of noise the corrected p of the best of 200 neurons is below .05 about one time in twenty."""
    rng, low = np.random.default_rng(0), 0
    codes, groups = np.repeat([0, 1], 6), np.arange(12)
    for seed in range(40):
        values = rng.normal(size=(12, 200))
        p = largest_statistic_p(separation(values, codes), null_separations(values, codes, groups, seed))
        low += bool(p.min() <= 0.05)
    assert low <= 6


def test_a_planted_neuron_is_found_and_only_that() -> None:
    """One neuron that holds the label is below .05 among hundreds, and names the label of held-out rows."""
    rng = np.random.default_rng(1)
    codes, groups = np.repeat([0, 1], 10), np.arange(20)
    values = rng.normal(size=(20, 300))
    values[:, 77] += 6 * codes
    p = largest_statistic_p(separation(values, codes), null_separations(values, codes, groups, 0))
    assert np.flatnonzero(p <= 0.05).tolist() == [77]
    assert best_neuron(values, codes.astype(str), groups, 0).score >= 0.9


def test_the_least_p_is_that_of_the_arrangements() -> None:
    """Three and three have twenty arrangements, each as good as its mirror image."""
    assert least_p(np.repeat([0, 1], 3)) == pytest.approx(2 / 20)
    assert least_p(np.array([0, 0, 1])) == pytest.approx(1 / 3)
    assert least_p(np.arange(3)) == 1
    assert least_p(np.repeat([0, 1], 20)) == pytest.approx(1 / 1001)


@pytest.mark.parametrize("seed", range(3))
def test_arbitrary_labels_show_nothing(organism: Subject, seed: int) -> None:
    """Labels drawn by chance separate no neuron beyond the search, in or out of sample."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(["a", "b"] * 8).tolist()
    features = {2: rng.normal(size=(16, 128)).astype(np.float32)}
    twins = [{2: rng.normal(size=(16, 128)).astype(np.float32)} for _ in range(3)]
    found = separating(organism, PROMPTS, labels, features, {"untrained": twins}, seed)
    assert found.measurement is not None
    assert found.measurement.p is not None
    assert found.measurement.p > 0.05
    assert found.measurement.low < 0.5
    assert found.searched == 128


def test_neurons_chosen_beforehand_are_no_search(organism: Subject) -> None:
    """With `only`, chance is the best of those neurons; p is smaller than that of a search of all."""
    rng = np.random.default_rng(0)
    features = {2: rng.normal(size=(16, 128)).astype(np.float32)}
    labels = ["a"] * 8 + ["b"] * 8
    wide = separating(organism, PROMPTS, labels, features, {})
    few = separating(organism, PROMPTS, labels, features, {}, only=[5, 6])
    assert few.searched == 2
    assert few.p[2][5] < wide.p[2][5]


def test_labels_of_one_prompt_are_not_tested(organism: Subject) -> None:
    """A label with one prompt, or one group, cannot be held out: there is no measurement, and p finds nothing."""
    features = {0: np.random.default_rng(0).normal(size=(3, 128)).astype(np.float32)}
    found = separating(organism, PROMPTS[:3], ["a", "b", "c"], features, {})
    assert found.measurement is None
    assert found.p[0].min() == 1
    rows = {0: np.random.default_rng(0).normal(size=(4, 128)).astype(np.float32)}
    grouped = separating(organism, PROMPTS[:4], ["a", "a", "b", "b"], rows, {}, groups=["g", "g", "h", "h"])
    assert grouped.measurement is None


def test_labels_that_tell_nothing_apart_are_refused(organism: Subject) -> None:
    """Labels of another number, of one kind, and prompts of one text are named."""
    rows = {0: np.ones((2, 128), np.float32)}
    with pytest.raises(ValueError, match="1 labels given for 2 prompts"):
        separating(organism, PROMPTS[:2], ["a"], rows, {})
    with pytest.raises(ValueError, match="all labels are 'a'"):
        separating(organism, PROMPTS[:2], ["a", "a"], rows, {})
    with pytest.raises(ValueError, match="one text or group"):
        separating(organism, PROMPTS[:1] * 2, ["a", "b"], rows, {})
