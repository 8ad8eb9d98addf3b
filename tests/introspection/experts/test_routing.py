"""Which experts are chosen, against the mixture's own block watched by hand."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.introspection.experts.routing import routed_layers, routes
from lazarus_probe.subject import Subject
from lazarus_probe.taps import Tap, tapped
from tests.architectures import zoo

PROMPTS = ["12 * 3 =", "a cat", "paris is a city", "b"]


@pytest.fixture(scope="module", params=["olmoe", "gpt_oss", "qwen3_moe"])
def mixture(request: pytest.FixtureRequest, tokenizer: Any) -> Subject:
    return Subject.from_model(zoo.build(request.param), tokenizer, name=request.param)


def called_with(mixture: Subject, experts: Any, text: str) -> np.ndarray:
    """The indices (L, k) that the experts' module is given."""
    met = []
    with tapped([Tap(experts, before=lambda indices: met.append(indices) or indices, argument=1)]):
        mixture.model(mx.array([mixture.encode(text)]))
    return np.array(met[0]).reshape(-1, 2)


def test_experts_are_those_that_the_block_runs(mixture):
    """The chosen set at each position is the set of indices that the experts' module is called with."""
    found = routes(mixture, PROMPTS)
    experts = mixture.anatomy.part("experts", 1)
    for number, text in enumerate(PROMPTS):
        expected = np.sort(called_with(mixture, experts, text)[1:], axis=1)
        assert np.array_equal(np.sort(found.chosen[1][found.prompts == number], axis=1), expected)


def test_rows_are_positions_without_the_beginning(mixture):
    """Rows are the tokens of each prompt in order, <bos> left out, and count from 0."""
    found = routes(mixture, PROMPTS)
    encoded = [mixture.encode(text)[1:] for text in PROMPTS]
    assert found.tokens.tolist() == [token for ids in encoded for token in ids]
    assert found.positions.tolist() == [place for ids in encoded for place in range(len(ids))]
    assert found.prompts.tolist() == [number for number, ids in enumerate(encoded) for _ in ids]


def test_uses_marks_the_chosen(mixture):
    """`uses` marks k experts a position, and exactly those chosen."""
    found = routes(mixture, PROMPTS, [2])
    used = found.uses(2)
    assert used.shape == (len(found), 4)
    assert (used.sum(1) == 2).all()
    assert all(
        set(np.flatnonzero(row)) == set(chosen) for row, chosen in zip(used, found.chosen[2], strict=True)
    )


def test_a_dense_model_routes_nowhere(grouped):
    """A dense model has no routed layer, and is refused by name."""
    assert routed_layers(grouped) == ()
    with pytest.raises(ValueError, match="grouped has no layer with experts"):
        routes(grouped, PROMPTS)


def test_routed_layers_are_those_with_experts(mixture):
    """Every layer that is a mixture is found; a first layer that is dense is not."""
    dense = 1 if mixture.name == "qwen3_moe" else 0
    assert routed_layers(mixture) == tuple(range(dense, 4))
