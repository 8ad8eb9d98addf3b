"""LEACE in closed form: the classes' means agree after it, no smaller edit does as much, and what is noise stays."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lazarus_probe.introspection.directions.concept_erasure import fit_eraser, random_erasers, whitening


def drawn(classes=2, rows=300, width=8, seed=0):
    """States of unequal and dependent spread, in which the classes have different means."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    mixing = rng.normal(size=(width, width)) * np.geomspace(0.1, 10, width)
    means = rng.normal(size=(classes, width))
    return rng.normal(size=(rows, width)) @ mixing + means[labels], labels.astype(str)


@pytest.mark.parametrize("shrinkage", [0.0, 0.3, None])
@pytest.mark.parametrize("classes", [2, 4])
def test_class_means_agree_and_the_mean_stays(classes, shrinkage):
    """Whatever the covariance is taken for, the erased classes have the mean of all states, and the rank is K-1."""
    states, labels = drawn(classes)
    eraser = fit_eraser(states, labels, whitening(states, shrinkage))
    erased = eraser(states)
    for label in np.unique(labels):
        np.testing.assert_allclose(erased[labels == label].mean(axis=0), states.mean(axis=0), atol=1e-9)
    assert eraser.rank == classes - 1
    np.testing.assert_allclose(eraser(erased), erased, atol=1e-9)


def test_it_is_the_formula_of_the_paper():
    """The map x - W+ P W (x - mean), with the whitening and the projection written out."""
    states, labels = drawn()
    centred = states - states.mean(axis=0)
    covariance = centred.T @ centred / len(states)
    variances, axes = np.linalg.eigh(covariance)
    whiten = axes @ np.diag(variances**-0.5) @ axes.T
    concept = (labels == "1").astype(float)
    cross = centred.T @ (concept - concept.mean()) / len(states)
    direction = whiten @ cross[:, None]
    projection = direction @ np.linalg.pinv(direction)
    expected = states - centred @ (np.linalg.inv(whiten) @ projection @ whiten).T
    np.testing.assert_allclose(
        fit_eraser(states, labels, whitening(states, 0.0))(states), expected, atol=1e-9
    )


def test_no_other_eraser_moves_the_states_less():
    """Every affine map with equal class means is x - B (x - mean) with B cross = cross: all tried move them more."""
    states, labels = drawn()
    centred = states - states.mean(axis=0)
    concept = (labels == "1").astype(float)
    cross = centred.T @ (concept - concept.mean()) / len(states)
    moved = ((states - fit_eraser(states, labels, whitening(states, 0.0))(states)) ** 2).sum(axis=1).mean()
    rng, width = np.random.default_rng(1), states.shape[1]
    orthogonal = np.outer(cross, cross) / (cross @ cross)
    own = (states - fit_eraser(states, labels, whitening(states, 0.0))(states)).T @ np.linalg.pinv(centred.T)
    free = np.eye(width) - orthogonal
    others = [
        orthogonal,
        *(own + size * rng.normal(size=(width, width)) @ free for size in (0.001, 0.01, 1) * 5),
    ]
    for other in others:
        np.testing.assert_allclose(other @ cross, cross, atol=1e-8)
        assert ((centred @ other.T) ** 2).sum(axis=1).mean() > moved


def test_a_probe_falls_to_a_constant():
    """A logistic regression trained on erased states has next to no weights, where it read the classes before."""
    states, labels = drawn(rows=600)
    eraser = fit_eraser(states, labels, whitening(states, 0.0))
    before, after = (
        LogisticRegression(C=1e6, max_iter=5000).fit(rows, labels).predict_proba(rows)[:, 1]
        for rows in (states, eraser(states))
    )
    truth = labels == "1"
    assert before[truth].mean() - before[~truth].mean() > 0.05
    np.testing.assert_allclose(after, truth.mean(), atol=0.01)


def test_with_as_many_rows_as_dimensions_shrinkage_finds_the_concept():
    """Of 202 rows of 200 dimensions the sample has directions of next to no spread, along which others are moved."""
    rng = np.random.default_rng(0)
    labels = np.repeat(["a", "b"], 101)
    states = rng.normal(size=(202, 200))
    states[:, 0] += np.where(labels == "a", 1, -1)
    concept, others = np.zeros((2, 200)), rng.normal(size=(50, 200))
    concept[:, 0] = 1, -1
    erasers = {
        shrinkage: fit_eraser(states, labels, whitening(states, shrinkage)) for shrinkage in (0.0, None)
    }
    moved = {name: np.linalg.norm(others - eraser(others)) for name, eraser in erasers.items()}
    assert moved[None] < 0.5 * moved[0.0], "states that it was not fitted on are moved by noise"
    assert np.ptp(erasers[None](concept)[:, 0]) < 1, "of 2"


def test_random_erasers_have_the_rank_and_leave_the_concept():
    """They erase as many whitened directions, each idempotent, and hardly any of the concept."""
    states, labels = drawn(width=60, rows=500)
    whitened = whitening(states, 0.0)
    own = fit_eraser(states, labels, whitened)
    gap = states[labels == "1"].mean(axis=0) - states[labels == "0"].mean(axis=0)
    for eraser in random_erasers(whitened, own.rank, 3):
        assert eraser.rank == own.rank
        erased = eraser(states)
        np.testing.assert_allclose(eraser(erased), erased, atol=1e-8)
        left = (erased[labels == "1"].mean(axis=0) - erased[labels == "0"].mean(axis=0)) @ gap / (gap @ gap)
        assert left > 0.5


def test_what_cannot_be_erased_is_refused_by_name():
    """An error names the states, the labels or the shrinkage, and what would be right."""
    states, labels = drawn()
    whitened = whitening(states)
    for call, message in (
        (lambda: whitening(states[:1]), r"states are \(1, 8\); give \(N, D\) with at least two rows"),
        (lambda: whitening(np.where(states > 5, np.nan, states)), "states are not finite in row"),
        (lambda: whitening(np.ones((4, 3))), "all states are the same"),
        (lambda: whitening(states, 2.0), "shrinkage is 2.0; give a share from 0 to 1"),
        (lambda: fit_eraser(states, labels[:5], whitened), "5 labels for 300 states"),
        (lambda: fit_eraser(states, np.full(300, "a"), whitened), "all labels are a"),
        (
            lambda: fit_eraser(np.tile(states, (2, 1)), np.repeat(["a", "b"], 300), whitened),
            "the classes have the same mean state",
        ),
        (lambda: random_erasers(whitened, 9, 1), "rank is 9; the states vary in 8 directions"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
