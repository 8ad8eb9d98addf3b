"""A model that was written as a GGUF file computes the same when it is loaded, whatever its architecture."""

from __future__ import annotations

import warnings

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.checkpoints.gguf.load import load_gguf
from tests.checkpoints.gguf.families import FAMILIES
from tests.checkpoints.gguf.writing import write_model

TOKENS = [[3, 17, 5, 40, 2, 9, 60, 11]]


@pytest.mark.parametrize("name", FAMILIES)
def test_logits_are_those_of_the_model_that_was_written(tmp_path, name):
    """All logits of a random model, whose weights, scales and windows each show in them."""
    family = FAMILIES[name]
    model = family.build()
    expected = np.array(
        model(mx.array(TOKENS), cache=model.make_cache() if hasattr(model, "make_cache") else None)
    )
    path = write_model(tmp_path / "model.gguf", family, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what mlx-lm computes otherwise than transformers
        loaded, _, _ = load_gguf(path)
    assert type(loaded) is type(model)
    cache = loaded.make_cache() if hasattr(loaded, "make_cache") else None
    logits = np.array(loaded(mx.array(TOKENS), cache=cache))
    np.testing.assert_allclose(logits, expected, atol=1e-4 * np.abs(expected).max())
