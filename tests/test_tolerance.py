"""Tolerances are no narrower and not much wider than rounding, and ties are what lies within them."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_map

from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.subject import Subject
from tests.tolerance import (
    EPSILON,
    REACH,
    in_order,
    moved_by_rounding,
    of_logits,
    possible_ranks,
    relative,
    rounding,
    sole_best,
)

TOKENS = mx.array([[5, 9, 3, 17, 4, 30, 8]])


@pytest.mark.parametrize("terms", [16, 256, 4096])
def test_sums_lie_within_rounding_and_not_far_within(terms):
    """Of 200 sums no two orders lie farther apart than the tolerance of n terms, and some a thirtieth as far."""
    rng = np.random.default_rng(terms)
    apart = []
    for _ in range(200):
        values = rng.normal(size=terms).astype(np.float32)
        parts = np.cumsum(values)  # one after the other, as no kernel does
        other = np.cumsum(values[rng.permutation(terms)])
        size = max(np.abs(parts).max(), np.abs(other).max())
        apart.append(abs(float(parts[-1]) - float(other[-1])) / rounding(size, terms))
    assert 1 / 30 < max(apart) <= 1


def test_a_model_lies_within_its_depth(grouped, naive):
    """Float32 logits lie within the tolerance of those in float64, and not a thirtieth of it as far."""
    exact = naive(grouped.model, TOKENS)["logits"]
    found = np.array(forward(grouped.model, TOKENS))
    tolerance = of_logits(grouped, exact)
    assert tolerance / 30 < np.abs(found - exact).max() <= tolerance


@pytest.mark.parametrize("variant", [0, 1, 2])
def test_what_a_rounding_moves_is_what_rounding_does(make_llama, naive, variant):
    """The error against float64 is within REACH of what one rounding of every weight moves, and not far within."""
    model = make_llama(seed=variant)
    subject = Subject.from_model(model)
    moved = moved_by_rounding(model, lambda: forward(model, TOKENS))
    error = relative(np.array(forward(subject.model, TOKENS)), naive(model, TOKENS)["logits"])
    assert 0.05 * moved < error <= REACH * moved


def test_a_mistake_is_not_within_what_a_rounding_moves(grouped):
    """A weight that is off by a ten thousandth is found, and the weights are put back to the bit."""
    plain = forward(grouped.model, TOKENS)
    moved = moved_by_rounding(grouped.model, lambda: forward(grouped.model, TOKENS))
    assert mx.array_equal(forward(grouped.model, TOKENS), plain)
    own = grouped.model.parameters()
    grouped.model.update(tree_map(lambda weight: weight * (1 + 1e-4), own))
    wrong = forward(grouped.model, TOKENS)
    grouped.model.update(own)
    assert relative(np.array(wrong), np.array(plain)) > 2 * REACH * moved


def test_a_number_of_another_size_has_another_tolerance():
    """The tolerance grows with size and depth, and is that of the largest number."""
    assert rounding(1.0) == REACH * EPSILON
    assert rounding([3.0, -8.0], 4) == 16 * REACH * EPSILON


def test_either_order_of_a_tie_is_right():
    """Two scores within the tolerance may change places, three in a row may not change ends."""
    scores = [0.1, 0.5, 0.5 + 1e-7, 0.9]
    assert in_order([3, 2, 1], scores, 1e-6)
    assert in_order([3, 1, 2], scores, 1e-6)
    assert not in_order([3, 1, 2], scores, 1e-8)
    assert not in_order([2, 3, 1], scores, 1e-6)
    assert not in_order([3, 3], scores, 1e-6)
    steps = [0.0, 0.6, 1.2]
    assert in_order([1, 2, 0], steps, 0.7)
    assert not in_order([0, 1, 2], steps, 0.7)


def test_a_rank_is_one_of_those_that_ties_allow():
    """Below what is surely ahead, and as many places more as there are ties."""
    scores = [0.1, 0.5, 0.5 + 1e-7, 0.9]
    assert list(possible_ranks(scores, 1, 1e-6)) == [2, 3]
    assert list(possible_ranks(scores, 2, 1e-6)) == [2, 3]
    assert list(possible_ranks(scores, 2, 1e-8)) == [2]
    assert list(possible_ranks(scores, 0, 1e-6)) == [4]
    assert list(possible_ranks(scores, 3, 0)) == [1]


def test_a_tie_at_the_top_is_no_input():
    """The best is named where it is alone, and a tie is an error that names both."""
    assert sole_best([0.1, 0.9, 0.5], 1e-6) == 1
    with pytest.raises(ValueError, match=r"items 1 and 2 are tied at 0.9, within 1e-06; choose"):
        sole_best([0.1, 0.9, 0.9], 1e-6)


def test_a_tie_in_what_is_said_fails_a_test(no_ties):
    """Under the fixture a greedy choice is that of mlx, and one between tied tokens is an error."""
    logits = mx.array([[0.1, 0.9, 0.5], [3.0, 1.0, 2.0]])
    assert mx.argmax(logits, axis=-1).tolist() == [1, 0]
    with pytest.raises(ValueError, match=r"items 0 and 2 are tied"):
        mx.argmax(mx.array([3.0, 1.0, 3.0 + 2 * EPSILON]))
