from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.statistics.cosines import cosine_matrix, mean_cosine, paired_cosines, unit_rows


def test_the_matrix_is_that_of_a_loop():
    """Each cell is the cosine of two rows, whatever their shape; the matrix is symmetric and has 1 on its diagonal."""
    rows = np.random.default_rng(0).normal(size=(5, 2, 3))
    matrix = cosine_matrix(rows)
    for i, j in np.ndindex(matrix.shape):
        one, two = rows[i].ravel(), rows[j].ravel()
        assert matrix[i, j] == pytest.approx(one @ two / np.sqrt((one @ one) * (two @ two)))
    assert (matrix == matrix.T).all()
    assert (matrix.diagonal() == 1).all()
    assert mean_cosine(rows) == pytest.approx(matrix[np.triu_indices(5, 1)].mean())


def test_known_means():
    """Orthogonal rows have a mean cosine of 0, copies of one row 1."""
    assert mean_cosine(np.eye(8, 20)) == pytest.approx(0)
    assert mean_cosine(np.ones((8, 20))) == pytest.approx(1)


def test_paired_cosines_are_exact_where_they_can_be():
    """Equal rows have exactly 1, a row of zeros 0, opposite ones -1."""
    rows = np.array([[0.1, 0.2, 0.3], [0, 0, 0], [1, 2, 2]])
    assert paired_cosines(rows, [[0.1, 0.2, 0.3], [1, 0, 0], [-1, -2, -2]]).tolist() == [1, 0, -1]


def test_a_row_of_zeros_is_refused():
    """It has no direction."""
    with pytest.raises(ValueError, match="row 1 is all zeros"):
        unit_rows([[1.0, 0], [0, 0]])
