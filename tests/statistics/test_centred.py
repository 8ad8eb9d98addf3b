"""Centred cosines, against loops over reference rows and against draws of which the truth is known."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from lazarus_probe.statistics.centred import OUTLIER, centred_cosines, outlier_dimensions, state_cosines
from lazarus_probe.statistics.cosines import cosine_matrix


def off_diagonal(matrix):
    """The cosines of different rows."""
    return matrix[np.triu_indices(len(matrix), 1)]


@pytest.mark.parametrize("among", [None, [1, 1, 1, 1, 0, 0, 0], [0, 1, 1, 0, 1, 1, 1]])
def test_a_cosine_is_the_mean_over_two_references(among):
    """Inner products and squared distances are plain means over all ordered pairs of different references."""
    rows = np.random.default_rng(0).normal(3, 1, (7, 40))
    references = np.ones(7, dtype=bool) if among is None else np.array(among, dtype=bool)
    matrix = centred_cosines(rows, among)
    for i, j in combinations(range(7), 2):
        others = rows[[k for k in range(7) if references[k] and k not in (i, j)]]
        inner, first, second = np.mean(
            [
                ((rows[i] - r) @ (rows[j] - s), (rows[i] - r) @ (rows[i] - s), (rows[j] - r) @ (rows[j] - s))
                for r, s in permutations(others, 2)
            ],
            axis=0,
        )
        assert matrix[i, j] == matrix[j, i] == pytest.approx(inner / np.sqrt(first * second))
    assert (matrix.diagonal() == 1).all()


@pytest.mark.parametrize("count", [4, 5, 8, 40])
def test_unrelated_rows_have_no_cosine_however_few(count):
    """Random rows with a common mean ten times their length are .99 alike raw, and about 0 once centred."""
    rng, raw, centred = np.random.default_rng(count), [], []
    for _ in range(400 // count):
        rows = rng.normal(size=(count, 300)) + rng.normal(0, 10, 300)
        raw.append(off_diagonal(cosine_matrix(rows)).mean())
        centred.append(off_diagonal(centred_cosines(rows)).mean())
    assert min(raw) > 0.98
    # The mean of all rows would give -1 / (N - 1), -.33 of four rows; that of the others as much above 0. What is
    # left is the bias of a ratio, of the order of one over the width.
    assert abs(np.mean(centred)) < 0.015


@pytest.mark.parametrize("truth", [0.0, 0.5, 0.9])
@pytest.mark.parametrize("count", [3, 10])
def test_a_planted_cosine_is_estimated(truth, count):
    """Two rows of a cosine about the mean have it once centred, whatever the mean; from three references on."""
    rng, estimates = np.random.default_rng(3), []
    for _ in range(60):
        first, noise = rng.normal(size=(2, 400))
        second = truth * first + np.sqrt(1 - truth**2) * noise
        references = rng.normal(size=(count, 400))
        mean = rng.normal(0, 10, 400)
        states = state_cosines(np.stack([first, second]) + mean, references + mean)
        estimates.append(states.matrix[0, 1])
    assert np.mean(estimates) == pytest.approx(truth, abs=0.03)


def test_equal_rows_have_one_and_opposite_ones_minus_one():
    """Copies of a state are 1 alike about any mean, states on either side of it -1."""
    rng = np.random.default_rng(0)
    rows = rng.normal(2, 1, (6, 50))
    rows[1] = rows[0]
    assert centred_cosines(rows)[0, 1] == pytest.approx(1)
    mean, away = rows.mean(axis=0), rng.normal(size=50)
    references = np.stack([mean + 0.001 * rng.normal(size=50) for _ in range(4)])
    states = np.stack([mean + away, mean - away])
    assert state_cosines(states, references).matrix[0, 1] == pytest.approx(-1, abs=1e-4)


def test_rows_at_the_mean_have_no_cosine():
    """Rows that differ by less than float32 resolves have no direction about their mean, and are not compared."""
    rows = np.ones((5, 20)) + 1e-8 * np.random.default_rng(0).normal(size=(5, 20))
    assert off_diagonal(centred_cosines(rows)).tolist() == [0.0] * 10
    assert off_diagonal(centred_cosines(np.ones((5, 20)))).tolist() == [0.0] * 10


def test_too_few_rows_are_refused():
    """Two or three rows leave no two references, and that is said."""
    for count in (2, 3):
        with pytest.raises(ValueError, match=f"{count} rows leave {count - 2} to centre a pair on"):
            centred_cosines(np.random.default_rng(0).normal(size=(count, 5)))
    with pytest.raises(ValueError, match="1 rows leave 1 to centre a pair on; give at least 1 more"):
        state_cosines(np.eye(2), np.ones((1, 2)))
    assert centred_cosines(np.ones((1, 3))).tolist() == [[1]]
    with pytest.raises(ValueError, match="among has 3 values for 5 rows"):
        centred_cosines(np.eye(5), [True] * 3)


def test_rows_of_zeros_have_no_outliers():
    """Zeros alone have none, and among other rows they change nothing."""
    assert outlier_dimensions(np.zeros((3, 8))) == ()
    rows = np.random.default_rng(0).normal(size=(4, 50))
    rows[:, 3] = 90
    assert outlier_dimensions(np.concatenate([rows, np.zeros((2, 50))])) == outlier_dimensions(rows) != ()


@pytest.mark.parametrize("width", [16, 128, 576, 4096])
def test_random_rows_have_no_outlier_dimension(width):
    """In normal rows of any width, a single one included, no dimension outweighs the others."""
    rng = np.random.default_rng(width)
    for count in (1, 2, 30):
        assert outlier_dimensions(rng.normal(size=(count, width))) == ()


def test_a_planted_outlier_dimension_is_left_out():
    """One dimension of 100 times the others makes raw cosines 1; without it they are those of the rest."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(12, 300))
    planted = rows.copy()
    planted[:, 7] = rng.normal(100, 20, 12)
    cosines = state_cosines(planted)
    assert [outlier.dimension for outlier in cosines.left_out] == [7]
    assert cosines.left_out[0].ratio > OUTLIER
    assert str(cosines.left_out[0]) == "dimension 7 (94 x the median)"
    assert off_diagonal(cosines.raw).min() > 0.9
    np.testing.assert_allclose(cosines.matrix, centred_cosines(np.delete(rows, 7, axis=1)), atol=1e-12)
    kept = state_cosines(planted, keep_outliers=True)
    np.testing.assert_array_equal(kept.matrix, cosine_matrix(planted))
    assert kept.left_out == ()
