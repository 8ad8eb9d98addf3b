"""A cache of keys and values that a sweep can start anywhere in a sequence, and read."""

# ruff: noqa: N803 - B, N and T are the names that the field gives to these sizes

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.forward_pass import chosen_rows


class Past:
    """Keys and values of one layer: those before a call, and after it also those that the call computed.

    It takes the place of mlx-lm's `KVCache`, and of `RotatingKVCache` where `window` is given: nothing is dropped, and
    what lies outside the window is masked instead. Both are (B, G, T, Dh); None before the first call, and in layers
    that keep none.
    """

    def __init__(
        self,
        window: int | None = None,
        keys: mx.array | None = None,
        values: mx.array | None = None,
        offset: int = 0,
    ) -> None:
        self.window, self.keys, self.values = window, keys, values
        self.offset = offset if keys is None else keys.shape[2]

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """The keys and values of all positions so far, those of this call last."""
        if self.keys is not None and self.values is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.keys, self.values, self.offset = keys, values, keys.shape[2]
        return keys, values

    def make_mask(self, N: int, return_array: bool = False, window_size: int | None = None) -> Any:
        """What the next N positions may attend to, in the forms that mlx-lm's own caches give."""
        from mlx_lm.models.base import create_causal_mask

        window = window_size or self.window
        if window is not None and self.offset + N > window:
            return create_causal_mask(N, self.offset, window_size=window)
        if N == 1:
            return None
        return create_causal_mask(N, self.offset) if return_array else "causal"

    def empty(self) -> bool:
        """Whether no position has been seen."""
        return self.keys is None

    def before(self, length: int, rows: NDArray[np.intp]) -> Past:
        """A cache with the first `length` positions of some rows; a row may occur several times."""
        if length == 0 or self.keys is None or self.values is None:
            return Past(self.window, offset=length)
        keys, values = self.keys[:, :, :length], self.values[:, :, :length]
        return Past(self.window, chosen_rows(keys, rows), chosen_rows(values, rows))

    def rows(self, part: slice) -> Past:
        """A cache of neighbouring rows."""
        if self.keys is None or self.values is None:
            return Past(self.window, offset=self.offset)
        return Past(self.window, self.keys[part], self.values[part])

    def joined(self, more: Past) -> Past:
        """A cache of these rows and those of another, both with keys and values."""
        pairs = (self.keys, more.keys), (self.values, more.values)
        return Past(self.window, *(mx.concatenate(list(pair)) for pair in pairs))  # type: ignore[arg-type]


def own_caches(entries: Sequence[Any]) -> list[Past]:
    """Empty caches of the sweep's own, with the windows of the model's."""
    return [Past(getattr(entry, "max_size", None)) for entry in entries]
