"""Cosines of directions, against NumPy, and their null, against drawn vectors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lazarus_probe.introspection.directions.cosines import direction_cosines, random_cosines, random_p
from lazarus_probe.introspection.directions.direction_file import Direction
from lazarus_probe.statistics.cosines import cosine_matrix


def drawn(count: int, dim: int, seed: int = 0) -> list[Direction]:
    """Random directions."""
    rows = np.random.default_rng(seed).normal(size=(count, dim)).astype(np.float32)
    return [Direction(row, 3, f"d{i}") for i, row in enumerate(rows)]


@pytest.mark.parametrize("dim", [2, 3, 64])
def test_the_null_is_that_of_drawn_vectors(dim: int) -> None:
    """Mean, upper end and p of |cosine| are what random vectors have."""
    rng = np.random.default_rng(1)
    first, second = rng.normal(size=(2, 40_000, dim))
    cosines = np.abs((first * second).sum(1) / np.linalg.norm(first, axis=1) / np.linalg.norm(second, axis=1))
    null = random_cosines(dim)
    assert null.expected == pytest.approx(cosines.mean(), rel=0.02)
    assert null.upper == pytest.approx(np.quantile(cosines, 0.95), rel=0.02)
    assert random_p(0.2, dim) == pytest.approx((cosines >= 0.2).mean(), abs=0.01)


def test_one_dimension_has_two_directions() -> None:
    """In one dimension every two vectors are parallel, by chance as well."""
    assert random_cosines(1).expected == random_p(1.0, 1) == 1


def test_cosines_are_those_of_numpy() -> None:
    """Each pair once, with the cosine of its vectors whatever their lengths."""
    given = drawn(4, 32)
    found = direction_cosines(given, threshold=0.15)
    for pair in found.pairs:
        a, b = (
            next(each.vector for each in given if each.name == name) for name in (pair.name_a, pair.name_b)
        )
        cosine = float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
        assert pair.cosine == pytest.approx(cosine, abs=1e-6)
        assert pair.orthogonal == (abs(cosine) < 0.15)
    assert len(found.pairs) == 6
    assert found.mean == pytest.approx(np.mean([abs(pair.cosine) for pair in found.pairs]))


def test_random_directions_are_not_beyond_chance() -> None:
    """Over many draws at most about one in twenty sets of random directions has a pair beyond chance."""
    sets = [direction_cosines(drawn(3, 128, seed)) for seed in range(100)]
    assert sum(bool(each.beyond_chance) for each in sets) <= 12
    same = direction_cosines([*drawn(1, 128), *drawn(1, 128)])
    assert len(same.beyond_chance) == 1


def test_what_cannot_be_compared_is_refused_or_warned_of() -> None:
    """Other widths are refused with both named; other models and layers are warned of."""
    files = [Path("a.npz"), Path("b.npz")]
    with pytest.raises(ValueError, match=r"a.npz has dimension 8 and b.npz has 9"):
        direction_cosines([*drawn(1, 8), *drawn(1, 9)], files)
    with pytest.raises(ValueError, match="1 direction given"):
        direction_cosines(drawn(1, 8))
    with pytest.raises(ValueError, match="threshold is 0"):
        direction_cosines(drawn(2, 8), threshold=0)
    one, two = (
        Direction(np.ones(4, np.float32), layer, model_id=model) for layer, model in ((1, "m"), (2, "n"))
    )
    warnings = direction_cosines([one, two], files).warnings
    assert "a.npz is of model m and b.npz of model n" in warnings[0]
    assert "a.npz is of layer 1 and b.npz of layer 2" in warnings[1]


def test_a_dimension_that_several_directions_share_as_an_outlier_is_left_out() -> None:
    """Random directions with one huge dimension in common are alike for it alone; the null has one dimension less."""
    plain = drawn(3, 200)
    rows = [direction.vector.copy() for direction in plain]
    for row, size in zip(rows, (90.0, 120.0, -100.0), strict=True):
        row[17] = size
    planted = [Direction(row, 3, f"d{i}") for i, row in enumerate(rows)]
    compared = direction_cosines(planted)
    assert [outlier.dimension for outlier in compared.left_out] == [17]
    assert compared.null.dim == 199
    assert not compared.beyond_chance
    np.testing.assert_allclose(compared.matrix, cosine_matrix(np.delete(np.stack(rows), 17, axis=1)))
    kept = direction_cosines(planted, keep_outliers=True)
    assert (len(kept.beyond_chance), kept.null.dim, kept.left_out) == (3, 200, ())
    alone = direction_cosines([planted[0], *plain[1:]])
    assert alone.left_out == ()
    assert compared.as_data()["outlier_dimensions"][0]["dimension"] == 17
    assert direction_cosines(plain).left_out == ()
