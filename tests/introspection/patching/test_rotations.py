"""The search among rotations: its interchange and gradient by NumPy, its steps orthonormal, its angles known ones."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.patching.rotations import (
    fitted_basis,
    interchange,
    on_manifold,
    principal_angles,
    random_basis,
    tangent,
)

SOURCES = [[0, 5, 9, 11], [0, 6, 8, 22, 7], [0, 9, 3, 4]]
TARGETS = [[0, 7, 2, 13], [0, 1, 8, 20, 7], [0, 3, 3, 41]]
OPTIONS = [3, 9, 30]
WANTED = np.array([2, 0, 1])
LAYER = 1


def in_numpy(naive, subject, basis, position=-1, layer=LAYER):
    """(N, O) logits of the options with states interchanged in a forward written out; wholly for None."""
    rows = []
    for source, target in zip(SOURCES, TARGETS, strict=True):
        state = naive(subject.model, [source])[f"resid_post.{layer}"][0, position]

        def edit(name, value, state=state):
            if name == f"resid_post.{layer}":
                value = value.copy()
                move = state - value[0, position]
                value[0, position] += move if basis is None else basis @ (basis.T @ move)
            return value

        rows.append(naive(subject.model, [target], edit)["logits"][0, -1, OPTIONS])
    return np.array(rows)


def loss(logits):
    return float(np.mean(np.log(np.exp(logits).sum(axis=-1)) - logits[np.arange(len(WANTED)), WANTED]))


@pytest.mark.parametrize(("layer", "position"), [(0, -1), (1, -1), (1, 2), (3, -1)])
def test_interchanges_are_those_of_numpy(subject, naive, layer, position):
    """In a subspace, in none and wholly, at any layer and position, of prompts of several lengths."""
    pairs = interchange(subject, SOURCES, TARGETS, OPTIONS, layer, position)
    basis = random_basis(32, 3, np.random.default_rng(0))
    for space in (basis, None, np.zeros((32, 1))):
        expected = in_numpy(naive, subject, space, position, layer)
        np.testing.assert_allclose(pairs.scores(space), expected, atol=2e-4)


def test_the_gradient_is_that_of_finite_differences(grouped, naive):
    """The loss and its slope along random changes of the basis are those of NumPy."""
    rng = np.random.default_rng(1)
    basis, size = random_basis(32, 2, rng), 1e-5
    value, gradient = interchange(grouped, SOURCES, TARGETS, OPTIONS, LAYER, -1).slope(basis, WANTED)
    assert value == pytest.approx(loss(in_numpy(naive, grouped, basis)), abs=1e-4)
    for _ in range(4):
        change = rng.normal(size=basis.shape)
        sides = [loss(in_numpy(naive, grouped, basis + sign * size * change)) for sign in (1, -1)]
        assert (gradient * change).sum() == pytest.approx(
            (sides[0] - sides[1]) / (2 * size), rel=2e-3, abs=2e-4
        )


def test_steps_stay_orthonormal_and_lower_the_loss(grouped):
    """What the search ends with is orthonormal, and better than what it began with."""
    pairs = interchange(grouped, SOURCES, TARGETS, OPTIONS, LAYER, -1)
    found = fitted_basis(pairs, WANTED, 4, np.random.default_rng(2), steps=15)
    first = random_basis(32, 4, np.random.default_rng(2))
    np.testing.assert_allclose(found.T @ found, np.eye(4), atol=1e-9)
    assert pairs.slope(found, WANTED)[0] < pairs.slope(first, WANTED)[0] - 0.1


def test_tangents_and_retractions_are_those_of_the_manifold():
    """A tangent step leaves the basis orthonormal to first order, and QR leaves an orthonormal matrix as it is."""
    rng = np.random.default_rng(3)
    basis = random_basis(10, 3, rng)
    along = tangent(basis, rng.normal(size=(10, 3)))
    np.testing.assert_allclose(basis.T @ along + along.T @ basis, 0, atol=1e-12)
    np.testing.assert_allclose(on_manifold(basis), basis, atol=1e-12)
    moved = on_manifold(basis - 0.1 * along)
    np.testing.assert_allclose(moved.T @ moved, np.eye(3), atol=1e-12)


def test_angles_are_known_ones():
    """Of a plane turned by 30 degrees around one of its axes, in any basis of either, one angle is 0 and one is 30."""
    rng = np.random.default_rng(4)
    turned = np.zeros((6, 2))
    turned[0, 0], turned[1, 1], turned[2, 1] = 1, np.cos(np.pi / 6), np.sin(np.pi / 6)
    mixes = [np.linalg.qr(rng.normal(size=(2, 2)))[0] for _ in range(2)]
    angles = principal_angles(np.eye(6)[:, :2] @ mixes[0], turned @ mixes[1])
    np.testing.assert_allclose(np.degrees(angles), [0, 30], atol=1e-4)
