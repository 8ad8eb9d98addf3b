"""Probability and rank of a token in some spellings, against sorting all of them."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.introspection.lens.spelled_token import rank_among, spelled_token


@pytest.mark.parametrize("ids", [[4], [7, 2], [0, 19, 5, 6]])
@pytest.mark.parametrize("shape", [(20,), (3, 20), (2, 3, 20)])
def test_it_is_what_sorting_gives(ids, shape):
    """Probabilities add up, the best spelling's rank counts, and that spelling is named."""
    rng = np.random.default_rng(len(shape))
    probabilities = rng.dirichlet(np.ones(20), shape[:-1])
    read = spelled_token(np.log(probabilities), ids)
    order = np.argsort(-probabilities, axis=-1)
    assert read.probability.shape == read.rank.shape == read.likeliest.shape == shape[:-1]
    for at in np.ndindex(shape[:-1]):
        ranks = [order[at].tolist().index(token) for token in ids]
        assert read.probability[at] == pytest.approx(sum(probabilities[at][token] for token in ids))
        assert (read.rank[at], read.likeliest[at]) == (min(ranks), int(np.argmin(ranks)))


def test_the_type_of_the_sum():
    """Probabilities are of the logarithms' type, or summed in the one that is asked for."""
    log_probs = np.log(np.full((2, 4), 0.25, np.float32))
    assert spelled_token(log_probs, [0, 1]).probability.dtype == np.float32
    assert spelled_token(log_probs, [0, 1], np.float64).probability.dtype == np.float64


def test_equals_share_a_rank():
    """Only what is more probable comes before a token: of equals, each is first."""
    assert rank_among(np.zeros((1, 5)), np.zeros(1)).tolist() == [0]
