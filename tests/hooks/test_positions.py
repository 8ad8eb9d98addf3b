"""Positions: which part of a chunk they are."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.hooks.positions import Frame, check_positions, check_range, in_chunk, put, take


@pytest.mark.parametrize(
    ("positions", "frame", "expected"),
    [
        ("all", Frame(3, 2), None),
        ("last", Frame(3, 2), {-1: 1}),
        (4, Frame(0, 5), {4: 4}),
        (4, Frame(3, 2), {4: 1}),
        (2, Frame(3, 2), {}),
        (5, Frame(3, 2), {}),
        (-1, Frame(3, 2), {-1: 1}),
        (-3, Frame(3, 2), {}),
        ([0, 3, 4], Frame(3, 2), {3: 0, 4: 1}),
    ],
)
def test_positions_are_absolute_in_the_sequence(positions, frame, expected):
    """A position's place in a chunk accounts for the positions that a cache already holds."""
    assert in_chunk(check_positions(positions), frame) == expected


def test_numpy_integers_are_positions():
    """Indices that NumPy computed work like plain ones."""
    assert check_positions(np.int64(3)) == (3,)
    assert check_positions(list(np.arange(2))) == (0, 1)


@pytest.mark.parametrize(
    ("positions", "error", "message"),
    [
        ("first", ValueError, "positions 'first' is unknown"),
        ((), ValueError, "positions is empty"),
        (1.5, TypeError, "float"),
        ((1, 2.5), TypeError, "float"),
    ],
)
def test_what_is_no_position_is_refused(positions, error, message):
    """Unknown words, nothing at all, and fractions are errors."""
    with pytest.raises(error, match=message):
        check_positions(positions)


def test_a_position_past_the_end_is_refused():
    """A position the sequence lacks is an error that names the ones it has."""
    check_range((-5, 4), 5)
    for position in (5, -6):
        with pytest.raises(IndexError, match=rf"position {position} is out of range: .* positions 0 to 4"):
            check_range((position,), 5)


def test_put_leaves_the_original_alone():
    """Replacing a slice makes a copy: another holder of the array sees nothing of it."""
    value = mx.arange(12).reshape(1, 4, 3)
    changed = put(value, [1, 3], 1, mx.zeros((1, 2, 3), dtype=value.dtype))
    expected = np.arange(12).reshape(1, 4, 3)
    assert np.array_equal(np.array(value), expected)
    expected[:, [1, 3]] = 0
    assert np.array_equal(np.array(changed), expected)
    assert np.array_equal(np.array(take(value, [2, 0], 1)), np.arange(12).reshape(1, 4, 3)[:, [2, 0]])
