"""Weights kept in a file: read back as they were, up to a cap, and not where the disk is full."""

from __future__ import annotations

import mlx.core as mx
import numpy as np
import pytest
from mlx.utils import tree_flatten

from lazarus_probe.subject import control_models
from lazarus_probe.subject.control_models import lesioned
from lazarus_probe.subject.kept_weights import FEWEST, KeptWeights


@pytest.fixture
def words() -> np.ndarray:
    return np.arange(2 * FEWEST, dtype=np.uint16).reshape(2, FEWEST)


def test_what_was_kept_is_read_back(words):
    """Arrays come back with their type, shape and every bit, whatever was kept in between."""
    store = KeptWeights()
    store.keep("first", words)
    store.keep("second", words.astype(np.uint32) + 1)
    store.keep("first", np.zeros_like(words))
    for key, expected in (("first", words), ("second", words.astype(np.uint32) + 1)):
        values = store.get(key)
        assert values.dtype == expected.dtype
        assert np.array_equal(values, expected)
    assert store.get("third") is None


def test_no_more_than_the_cap_is_kept(words):
    """An array that would exceed the cap is not kept, and neither is one that is computed as fast."""
    store = KeptWeights(cap=words.nbytes)
    store.keep("small", words[0, :-1])
    store.keep("first", words)
    store.keep("second", words)
    assert [store.get(key) is not None for key in ("small", "first", "second")] == [False, True, False]


def test_a_full_disk_keeps_nothing(words, monkeypatch):
    """Where the file cannot be written nothing is kept from then on, and nothing is raised."""

    def full(*_args, **_options):
        raise OSError(28, "No space left on device")

    store = KeptWeights()
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    store.keep("first", words)
    monkeypatch.undo()
    store.keep("second", words)
    assert store.get("first") is store.get("second") is None


def test_a_permuted_model_is_the_same_from_the_file(organism, monkeypatch):
    """The second model of a seed has the weights of the first, and no permutation is drawn for those that were kept."""
    monkeypatch.setattr(control_models, "_PERMUTED", KeptWeights())
    drawn, order = [], control_models.random_order
    monkeypatch.setattr(
        control_models, "random_order", lambda count, rng: drawn.append(count) or order(count, rng)
    )
    monkeypatch.setattr("lazarus_probe.subject.kept_weights.FEWEST", 1)
    first, second, other = (lesioned(organism, "permuted_blocks", seed) for seed in (0, 0, 1))
    first, second, other = (dict(tree_flatten(model.model.parameters())) for model in (first, second, other))
    assert len(drawn) == 2 * sum(name.startswith("model.layers") for name in first)
    assert all(mx.array_equal(first[name], second[name]) for name in first)
    assert not all(mx.array_equal(first[name], other[name]) for name in first)
