"""A step of a training that several processes compute together: each runs its rows, and all make the same update."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten, tree_map

from lazarus_probe.anatomy.random_state import random_key, set_random_key
from lazarus_probe.training.batches import Batch


def rows_of_process(arrays: Sequence[mx.array], rank: int, size: int) -> Batch:
    """A process's rows of a `Batch`, as many for each of `size`, filled up with rows that have no loss.

    The numbers of learned tokens stay those of the whole step. So the shares of all processes add up to the
    micro-batch, however unequal the rows are: a mean of means would count the tokens of short rows for more.
    """
    batch = Batch(*arrays)
    rows = -(-len(batch.tokens) // size)

    def part(array: mx.array, empty: int = 0) -> mx.array:
        own = array[rank::size]
        missing = mx.full((rows - len(own), *array.shape[1:]), empty, array.dtype)
        return mx.concatenate([own, missing])

    return batch._replace(
        tokens=part(batch.tokens),
        learned=part(batch.learned),
        read_at=part(batch.read_at),
        class_tokens=part(batch.class_tokens, -1),
        positions=part(batch.positions, -1),
    )


@contextmanager
def own_randomness(group: Any) -> Iterator[None]:
    """Dropout of its own in each process, and the same random state in all of them after it."""
    keys = mx.random.split(random_key(), group.size() + 1)
    set_random_key(keys[group.rank()])
    yield
    set_random_key(keys[group.size()])


def summed(tree: Any, group: Any) -> Any:
    """The sum over processes of each array in a tree, the same to the last bit in all of them.

    In one exchange: of several, each process might come to another one first. It is made in float32.
    """
    arrays = [array for _, array in tree_flatten(tree)]
    joined = mx.concatenate([array.reshape(-1).astype(mx.float32) for array in arrays])
    ends = np.cumsum([array.size for array in arrays]).tolist()
    sums = iter(mx.split(mx.distributed.all_sum(joined, group=group), ends[:-1]))
    return tree_map(lambda array: next(sums).reshape(array.shape).astype(array.dtype), tree)
