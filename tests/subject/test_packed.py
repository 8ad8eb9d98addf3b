"""Results that one process sends to another arrive as they were."""

from __future__ import annotations

from typing import Any

import mlx.core as mx
import numpy as np
import pytest

from lazarus_probe.subject.packed import packed, unpacked
from lazarus_probe.tasks.numbers import CutText

TYPES = ("float32", "float16", "bfloat16", "int32", "uint8", "bool_", "int64")


@pytest.mark.parametrize("name", TYPES)
def test_mlx_arrays_arrive_as_they_were(name: str) -> None:
    """An mlx array has the same type, shape and bits, infinite and missing numbers included."""
    dtype = getattr(mx, name)
    values = mx.array([[1.5, -0.0, 3.0], [0.0, float("inf"), float("nan")]])
    value = values.astype(dtype) if mx.issubdtype(dtype, mx.floating) else mx.array([[1, 0, 3]]).astype(dtype)
    for sent in (value, value.T, value[0, 1], value[:0]):
        again = unpacked(packed(sent))
        assert again.dtype == dtype
        assert again.shape == sent.shape
        assert again.reshape(-1).view(mx.uint8).tolist() == sent.reshape(-1).view(mx.uint8).tolist()


@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<i8", "|b1", "<U3"])
def test_numpy_arrays_arrive_as_they_were(dtype: str) -> None:
    """A NumPy array has the same type, shape and bits, and can be written to."""
    value = np.array([["1", "0"], ["33", "7"]]).astype(dtype if dtype != "|b1" else "<i8").astype(dtype)
    for sent in (value, value.T, value[:0]):
        again = unpacked(packed(sent))
        assert (again.dtype, again.shape, again.tobytes()) == (sent.dtype, sent.shape, sent.tobytes())
        again[:] = sent


def test_trees_arrive_as_they_were() -> None:
    """Lists, dictionaries, texts, numbers and texts that were cut off are the same, and tuples are lists."""
    tree: dict[str, Any] = {
        "numbers": [1, -2.5, 1e-300, True, None],
        "texts": ["", "ä\ud800", CutText("12")],
        "items": {"cut": {"array": "x"}},
        "pair": (1, [2]),
    }
    again = unpacked(packed(tree))
    assert again == {**tree, "pair": [1, [2]]}
    assert [type(text) for text in again["texts"]] == [str, str, CutText]


def test_what_cannot_be_sent_is_refused() -> None:
    """Objects that have no bytes of their own are refused."""
    for value in (object(), np.array([object()], dtype=object)):
        with pytest.raises(TypeError):
            packed({"value": value})
