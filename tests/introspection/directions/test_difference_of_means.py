"""Differences of mean states, against plain traces and NumPy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.directions.difference_of_means import contrast_direction, difference_of_means


def test_the_direction_is_the_difference_by_hand(grouped):
    """The direction is the difference of two means of plain traces at the last token."""
    site = Site("resid_post", 1)
    first, second = ["1 + 2", "cab", "7 * 8 ="], ["2", "car a"]
    rows = {text: np.array(trace(grouped, text, capture=site)[site])[0, -1] for text in (*first, *second)}
    expected = np.mean([rows[t] for t in first], 0) - np.mean([rows[t] for t in second], 0)
    np.testing.assert_allclose(difference_of_means(grouped, first, second, site), expected, atol=1e-4)


def test_the_contrast_is_the_difference_of_means(grouped):
    """A direction is the difference of mean states after its block; its keys are NumPy's numbers."""
    first, second = ["a b", "cat ", "12"], ["Paris", "b"]
    found = contrast_direction(grouped, first, second, 0, name="n", label_positive="x", label_negative="y")
    site = resid_post(0)
    np.testing.assert_allclose(found.vector, difference_of_means(grouped, first, second, site), atol=1e-5)
    one, two = (collect(grouped, side, [site])[site].mean(0) for side in (first, second))
    cosine = one @ two / np.linalg.norm(one) / np.linalg.norm(two)
    assert found.extra["cosine_similarity"] == pytest.approx(float(cosine), abs=1e-5)
    assert found.extra["norm"] == pytest.approx(float(np.linalg.norm(one - two)), rel=1e-5)
    assert (found.layer, found.name, found.label_positive, found.label_negative) == (0, "n", "x", "y")
    assert found.extra["positive_prompt"] == first


def test_what_has_no_direction_is_refused(grouped):
    """Equal sides have no direction, and neither have several residual streams."""
    with pytest.raises(ValueError, match="same mean state"):
        contrast_direction(grouped, ["a b"], ["a b"], 1)
    streams = replace(grouped, anatomy=replace(grouped.anatomy, stream_axis=2))
    with pytest.raises(ValueError, match="several residual streams"):
        contrast_direction(streams, ["a"], ["b"], 1)
