"""Results as bytes that one process sends to another: arrays to the last bit, texts and numbers, and trees of them."""

from __future__ import annotations

import json
from typing import Any

import mlx.core as mx
import numpy as np

from lazarus_probe.tasks.numbers import CutText

SIZE = 8  # bytes that say how long what follows is


def packed(tree: Any) -> bytes:
    """Bytes of arrays, texts, numbers, and lists and dictionaries of them.

    Raises:
        TypeError: the tree holds something else.
    """
    arrays: list[bytes] = []
    text = json.dumps(_plain(tree, arrays)).encode()
    return b"".join([len(text).to_bytes(SIZE, "big"), text, *arrays])


def unpacked(data: bytes) -> Any:
    """The tree of such bytes; tuples are lists in it."""
    begin = SIZE + int.from_bytes(data[:SIZE], "big")
    return _tree(json.loads(data[SIZE:begin]), memoryview(data)[begin:])


def _plain(tree: Any, arrays: list[bytes]) -> Any:
    match tree:
        case mx.array() | np.ndarray():
            at = sum(map(len, arrays))
            if isinstance(tree, mx.array):
                # NumPy has no bfloat16.
                kind, data = str(tree.dtype).removeprefix("mlx.core."), _bytes(tree)
            else:
                kind, data = tree.dtype.str, tree.tobytes()
            if kind.endswith("O"):
                raise TypeError("an array of objects cannot be sent; give a list")
            arrays.append(data)
            return {
                "array": kind,
                "mlx": isinstance(tree, mx.array),
                "shape": list(tree.shape),
                "at": at,
                "bytes": len(data),
            }
        case CutText():
            return {"cut": str(tree)}
        case dict():
            return {"items": [[key, _plain(value, arrays)] for key, value in tree.items()]}
        case list() | tuple():
            return [_plain(value, arrays) for value in tree]
    return tree


def _bytes(value: mx.array) -> bytes:
    return np.array(value.reshape(-1).view(mx.uint8)).tobytes() if value.size else b""


def _tree(plain: Any, data: memoryview) -> Any:
    if isinstance(plain, list):
        return [_tree(value, data) for value in plain]
    if not isinstance(plain, dict):
        return plain
    if "cut" in plain:
        return CutText(plain["cut"])
    if "items" in plain:
        return {key: _tree(value, data) for key, value in plain["items"]}
    part = data[plain["at"] : plain["at"] + plain["bytes"]]
    if not plain["mlx"]:
        return np.frombuffer(part, plain["array"]).reshape(plain["shape"]).copy()
    dtype = mx.bool_ if plain["array"] == "bool" else getattr(mx, plain["array"])
    if not part:
        return mx.zeros(plain["shape"], dtype)
    return mx.array(np.frombuffer(part, np.uint8)).view(dtype).reshape(plain["shape"])
