"""Directions between two labels: right, and worth what they are worth on held-out templates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lazarus_probe.circuit.directions import extract, extract_per_category, save
from lazarus_probe.introspection.directions.class_direction import METHODS, Method, fit_direction
from lazarus_probe.introspection.directions.direction_file import read_direction
from lazarus_probe.statistics.effect_size import cohens_d
from lazarus_probe.statistics.probes.out_of_fold import USUAL_STRENGTH


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_difference_of_means(planted: Callable[..., Any]):
    """It is the difference of the two means, in the activations' own units."""
    collected = planted()
    positive = np.array(collected.prompts.labels) == 1
    rows = collected.hidden[1]
    expected = rows[positive].mean(axis=0) - rows[~positive].mean(axis=0)
    np.testing.assert_allclose(extract(collected, [1], draws=9).directions[1].vector, expected, rtol=1e-4)


def test_probe_weights_are_sklearns(planted: Callable[..., Any]):
    """The weights of a probe on standardised activations, brought back to the activations' units."""
    collected = planted()
    labels, rows = np.array(collected.prompts.labels), collected.hidden[1].astype(float)
    model = LogisticRegression(C=USUAL_STRENGTH).fit((rows - rows.mean(0)) / rows.std(0), labels)
    found = extract(collected, [1], "logistic", draws=9).directions[1]
    assert cosine(found.vector.astype(float), model.coef_[0] / rows.std(0)) > 0.999
    assert np.linalg.norm(found.vector) == pytest.approx(1.0, rel=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_planted_and_noise(planted: Callable[..., Any], method: Method):
    """A planted label is separated on held-out templates, and noise is not, however wide."""
    found = extract(planted(), method=method, draws=29)
    assert [each.beyond_controls for each in found.directions.values()] == [False, True]
    assert found.best.layer == 1
    assert (found.best.separation or 0) > 1.5
    noise = extract(planted(size=0.0, width=200), [0], method=method, draws=29)
    assert not any(each.beyond_controls for each in noise.directions.values())
    rows = planted(size=0.0, width=200).hidden[0].astype(float)
    positive = np.array(planted().prompts.labels) == 1
    along = rows @ fit_direction(rows, positive, method)
    in_sample, held_out = cohens_d(along[positive], along[~positive]), noise.directions[0].separation
    assert (in_sample or 0) > 2
    assert held_out is not None
    assert abs(held_out) < 2


def test_per_category(planted: Callable[..., Any]):
    """Each category of the positive label has a direction from all else."""
    found = extract_per_category(planted(), [1], draws=39)
    assert list(found) == ["b"]
    assert (found["b"].positive, found["b"].negative) == ("b", "not_b")


def test_saved(planted: Callable[..., Any], tmp_path: Path):
    """A saved file has every layer, and the best as a direction to steer along."""
    found = extract(planted(), draws=39)
    save(tmp_path / "d.npz", found)
    with np.load(tmp_path / "d.npz", allow_pickle=False) as file:
        np.testing.assert_array_equal(file["layer_0"], found.directions[0].vector)
        np.testing.assert_array_equal(file["layer_1"], found.directions[1].vector)
    direction = read_direction(tmp_path / "d.npz")
    np.testing.assert_array_equal(direction.vector, found.directions[1].vector)
    assert (direction.layer, direction.label_positive, direction.label_negative) == (1, "yes", "no")
    assert direction.accuracy == found.best.accuracy


def test_refused(planted: Callable[..., Any]):
    """Other than two labels, activations that are the same, and unknown methods are refused."""
    with pytest.raises(ValueError, match="prompts with a group have 0"):
        extract(planted(labelled=False))
    collected = planted()
    three = replace(collected, prompts=replace(collected.prompts, labels=tuple(i % 3 for i in range(96))))
    with pytest.raises(ValueError, match="have 3: 0, 1, 2"):
        extract(three)
    with pytest.raises(ValueError, match="one of difference_of_means, lda, logistic"):
        extract(collected, method="svm")  # type: ignore[arg-type]
    same = replace(collected, hidden={0: np.ones((96, 3), np.float32)})
    with pytest.raises(ValueError, match="have the same mean"):
        extract(same)
