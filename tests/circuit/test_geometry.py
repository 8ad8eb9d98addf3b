"""Components, layouts and probes of collected activations."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.preprocessing import StandardScaler

from lazarus_probe.circuit import geometry


def test_components_are_sklearns():
    """Shares of variance and coordinates are those of scikit-learn on standardised data."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(40, 10)) @ rng.normal(size=(10, 10)) + 5
    found = geometry.components(features)
    rows = StandardScaler().fit_transform(features)
    expected = PCA().fit(rows)
    np.testing.assert_allclose(found.shares, expected.explained_variance_ratio_, atol=1e-10)
    np.testing.assert_allclose(np.abs(found.points), np.abs(expected.transform(rows)), atol=1e-8)
    totals = np.cumsum(expected.explained_variance_ratio_)
    assert found.dims(0.9) == int(np.argmax(totals >= 0.9)) + 1
    assert found.as_data()["variance_10"] == pytest.approx(1.0)


def test_no_components():
    """Two prompts, or activations that do not differ, have no components."""
    with pytest.raises(ValueError, match="at least 3"):
        geometry.components(np.ones((2, 4)))
    with pytest.raises(ValueError, match="same for all 5"):
        geometry.components(np.ones((5, 4)))


def test_bag_of_words():
    """Words and marks are counted."""
    np.testing.assert_array_equal(geometry.bag_of_words(["a b a?", "b"]), [[1, 2, 1], [0, 0, 1]])
    assert geometry.bag_of_words([" ", " "]).shape == (2, 1)


def test_analysis(planted: Callable[..., Any]):
    """A planted label is beyond the words at its layer only; the plain data has the published keys."""
    found = geometry.analyse(planted(), draws=199)
    assert [found.binary.layers[layer].beyond_controls for layer in (0, 1)] == [False, True]
    data = found.as_data()["layers"]["1"]
    published = {"layer", "probe_type", "accuracy", "train_accuracy", "cv_mean", "cv_std", "n_classes"}
    assert published < set(data["binary_probe"])
    assert published < set(data["category_probe"])
    assert set(data["pca"]) == {"layer", "n_components", "variance_1", "variance_10", "dim_90", "dim_95"}
    assert "made" in found._repr_html_()


def test_not_probed(planted: Callable[..., Any]):
    """Prompts without labels have components and no probes, with the reason."""
    data = geometry.analyse(planted(labelled=False)).as_data()
    assert data["layers"]["0"]["binary_probe"] is None
    assert data["not_probed"] == {"binary": "no prompt has a label", "category": "no prompt has a category"}


def test_layer_that_was_not_collected(planted: Callable[..., Any]):
    """A layer that the file lacks is named with those that it has."""
    with pytest.raises(ValueError, match="layer 5 was not collected; the file has 0, 1"):
        geometry.analyse(planted(), [5])


def test_umap_is_an_extra(monkeypatch: pytest.MonkeyPatch):
    """Without umap-learn the error names the extra."""
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ValueError, match=r"lazarus_probe\[umap\]"):
        geometry.umap_points(np.ones((9, 3)))
