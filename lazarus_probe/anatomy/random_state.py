"""The global random state of mlx, from which modules are initialised."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mlx.core as mx


@contextmanager
def random_state(seed: int) -> Iterator[None]:
    """The global random state of mlx set from `seed` within, and restored after."""
    before = random_key()
    mx.random.seed(seed)
    try:
        yield
    finally:
        set_random_key(before)


def random_key() -> mx.array:
    """The key (2,) that `mx.random` draws from next."""
    state: Any = mx.random.state
    return mx.array(state[0])


def set_random_key(key: mx.array) -> None:
    """Let `mx.random` draw from a key (2,) next."""
    words: Any = key.tolist()
    high, low = words
    # A key is two 32-bit words, and seeding with one 64-bit number writes exactly those.
    mx.random.seed(high << 32 | low)
