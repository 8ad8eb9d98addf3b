"""Effects of many cells beside a control: means by unit, gains, and false alarms of p over all cells."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from lazarus_probe.statistics.cell_effects import CellEffects, mark
from lazarus_probe.statistics.clusters import cluster_means
from lazarus_probe.statistics.permutation import sign_step_down
from lazarus_probe.statistics.student import clustered_t_interval, mean_t_interval


def test_means_are_of_units_in_their_order():
    """Rows of one unit are averaged first, whatever their order, and units stay in that of their first row."""
    rows = np.array([[1.0, 10.0], [4.0, 40.0], [3.0, 30.0]])
    assert cluster_means(rows, ["b", "a", "b"]).tolist() == [[2.0, 20.0], [4.0, 40.0]]
    with pytest.raises(ValueError, match="2 clusters for 3 rows"):
        cluster_means(rows, ["a", "b"])
    means = mean_t_interval([[2.0, 20.0], [4.0, 40.0]])
    np.testing.assert_array_equal(clustered_t_interval(rows, ["b", "a", "b"]), means)


def test_what_is_marked():
    """A p of at most .05 has an asterisk; one that is larger, or unknown, has none."""
    assert [mark(p) for p in (0.0, 0.05, 0.051, np.nan)] == ["*", "*", "", ""]


def test_gains_are_over_the_control_of_prompts_that_have_one():
    """A prompt without a control counts in the effect and not in the gain."""
    effects, control = np.array([[1.0, 2.0, 6.0]]), np.array([[0.5, np.nan, 1.0]])
    cells = CellEffects(effects, control, ("a", "b", "c"))
    assert cells.effect.mean.tolist() == [3.0]
    assert cells.gain.mean.tolist() == [2.75]
    assert np.isnan(cells.p).all(), "two units have no p"
    none = CellEffects(effects, np.full_like(effects, np.nan), ("a", "b", "c"))
    assert np.isnan(none.gain.mean).all()
    assert np.isnan(none.cell_data(0)["p"])


def test_p_finds_the_cell_and_not_the_others():
    """One cell with an effect in all units has the smallest p that there is; the others have none below .05."""
    effects = np.random.default_rng(0).normal(0, 0.1, size=(6, 8))
    effects[2] += 3
    cells = CellEffects(effects, np.zeros_like(effects), tuple("abcdefgh"))
    assert cells.best == 2
    assert cells.p[2] == 1 / 256
    assert np.delete(cells.p, 2).min() > 0.05


def test_false_alarms_over_all_cells_are_five_of_a_hundred_at_most():
    """Of cells without an effect, which depend on each other, any has p at most .05 in that share of draws or less."""
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(200):
        rows = rng.normal(size=(7, 1)) + rng.standard_t(3, size=(7, 12))
        alarms += sign_step_down(rows).min() <= 0.05
    assert binomtest(alarms, 200, 0.05, alternative="greater").pvalue > 0.01
