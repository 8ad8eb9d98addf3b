"""Entropy and divergences against SciPy's."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from scipy.special import log_softmax
from scipy.stats import entropy as scipy_entropy

from lazarus_probe.introspection.lens.divergence import entropy, js_divergence, kl_divergence


@pytest.fixture
def pair() -> np.ndarray:
    return log_softmax(np.random.default_rng(0).normal(scale=3, size=(2, 50)), axis=-1)


def test_values_are_those_of_scipy(pair):
    """Entropy, KL and Jensen-Shannon divergence in nats are what SciPy computes."""
    p, q = np.exp(pair)
    assert entropy(pair[0]) == pytest.approx(scipy_entropy(p))
    assert kl_divergence(*pair) == pytest.approx(scipy_entropy(p, q))
    assert js_divergence(*pair) == pytest.approx(jensenshannon(p, q) ** 2)


def test_equal_distributions_are_not_apart(pair):
    """A distribution is at distance 0 of itself."""
    assert kl_divergence(pair[0], pair[0]) == 0
    assert js_divergence(pair[0], pair[0]) == pytest.approx(0, abs=1e-12)


def test_impossible_tokens_are_counted():
    """What p rules out adds nothing, what only q rules out makes KL infinite, and JS is at most log 2."""
    with np.errstate(divide="ignore"):
        p, q = np.log([0.5, 0.5, 0.0]), np.log([0.25, 0.75, 0.0])
        r, s = np.log([1.0, 0.0, 0.0]), np.log([0.0, 0.0, 1.0])
    assert kl_divergence(p, q) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert kl_divergence(p, s) == np.inf
    assert js_divergence(r, s) == pytest.approx(np.log(2))
    assert entropy(r) == 0
