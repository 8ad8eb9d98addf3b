"""Changes under which a model computes what it did, or a rounding of it, and ways of running it that change nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from lazarus_probe.anatomy.plain_weights import weight_bytes
from lazarus_probe.mutants.inner_changes import rounded
from lazarus_probe.mutants.mutant import Change, Mutant, Weights, changed, random_rotation
from lazarus_probe.mutants.places import Block, blocks
from lazarus_probe.subject.random_tokens import ordinary_tokens

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

BITS, GROUPS = 8, (32, 64)
PERMUTATIONS = 3  # of the neurons of each layer
FACTORS = (0.5, 2.0)  # powers of two: nothing is rounded
SEEDS = range(1, 11)
TOKENS = 16
SMALL = (
    2**26
)  # bytes of weights; mlx's own products take up to 90 times as long, hours of a larger model's suite
# How far a logit may move under a symmetry, in standard deviations of the logits: rotated weights are rounded anew.
MOVED = {"float32": 1e-3, "float16": 1e-2, "bfloat16": 0.1}


def harmless_mutants(subject: Subject, seed: int = 0) -> tuple[Mutant, ...]:
    """The harmless changes of a model, those of one kind next to each other.

    Whether a model has a symmetry depends on its code: norms over all heads, or norms that add 1 to their weight, break
    some. So each kind is tried on the model at hand, in its first and its last block, and left out where logits move.

    Args:
        subject: the model.
        seed: of permutations and rotations.

    Raises:
        ValueError: as `changed`.
    """
    rng = np.random.default_rng(seed)
    layers = blocks(subject)
    symmetries = [
        Mutant(kind, place, harmless=True, change=change)
        for block in layers
        for kind, place, change in (*_of_mlp(block, rng), *_of_attention(block, rng))
    ]
    kinds = {mutant.kind: [m for m in symmetries if m.kind == mutant.kind] for mutant in symmetries}
    held = {kind for kind, members in kinds.items() if _hold(subject, (members[0], members[-1]))}
    return (
        *(Mutant(kind, place, harmless=True, change=change) for kind, place, change in _roundings(layers)),
        *(mutant for mutant in symmetries if mutant.kind in held),
        *_runs(weight_bytes(subject.model)),
    )


def _hold(subject: Subject, mutants: Sequence[Mutant]) -> bool:
    """Whether the logits of a few tokens stay under each of some changes, but for the rounding of weights."""
    tokens = mx.array([ordinary_tokens(subject)[:TOKENS].tolist()])
    before = subject.model(tokens).astype(mx.float32)
    limit = MOVED.get(subject.dtype, MOVED["float32"]) * float(mx.std(before))
    for mutant in mutants:
        with changed(subject, mutant):
            off = mx.abs(subject.model(tokens).astype(mx.float32) - before).max()
            if not float(off) <= limit:
                return False
    return True


def _roundings(layers: tuple[Block, ...]) -> Iterator[Change]:
    yield "float16 rounding", "", partial(_each, _half, None)
    yield "bfloat16 rounding", "", partial(_each, _brain, None)
    for group in GROUPS:
        yield "8-bit rounding", f"groups of {group}", partial(_each, partial(_eight, group), None)
    for block in layers:
        yield "float16 layer", f"L{block.layer}", partial(_each, _half, block.linear)
        yield "8-bit layer", f"L{block.layer}", partial(_each, partial(_eight, GROUPS[-1]), block.linear)


def _of_mlp(block: Block, rng: np.random.Generator) -> Iterator[Change]:
    place, inputs = f"L{block.layer}", tuple(name for name in (block.gate, block.up) if name)
    if block.down is None or block.hidden is None or block.up is None or block.gate is None:
        return
    for number in range(PERMUTATIONS):
        order = rng.permutation(block.hidden)
        yield (
            "neurons permuted with their weights",
            f"{place}, {number + 1}",
            partial(_permute, inputs, block.down, order),
        )
    for factor in FACTORS:
        change = partial(_rescale, (block.up,), (block.down,), factor)
        yield "up and down rescaled", f"{place} by {factor:g}", change
    if norm := block.norms[1]:
        yield "norm and mlp rescaled", place, partial(_rescale, (norm,), inputs, FACTORS[1])


def _of_attention(block: Block, rng: np.random.Generator) -> Iterator[Change]:
    place, heads = f"L{block.layer}", block.heads
    if heads is None or not heads.fused or block.values is None or block.output is None:
        return  # without mlx's kernel the numbers of key and value heads are not known
    for factor in FACTORS:
        change = partial(_rescale, (block.values,), (block.output,), factor)
        yield "values and output rescaled", f"{place} by {factor:g}", change
    rotation = mx.array(random_rotation(heads.value_dim, rng))
    yield (
        "values and output rotated",
        place,
        partial(_rotate, block.values, block.output, heads.num_kv_heads, rotation),
    )
    if block.queries and block.keys:
        order = _head_order(heads.num_heads, heads.num_kv_heads, rng)
        yield (
            "heads permuted with their weights",
            place,
            partial(_permute_heads, block.queries, block.output, order, heads.head_dim, heads.value_dim),
        )
        read = (block.queries, block.keys, block.values)
        if norm := block.norms[0]:
            yield "norm and attention rescaled", place, partial(_rescale, (norm,), read, FACTORS[1])


def _runs(size: int) -> Iterator[Mutant]:
    """A model of so many bytes as it is, run in other ways."""
    yield Mutant("two threads", "", True, environment={"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"})
    if size <= SMALL:
        yield Mutant("mlx's own products", "", True, environment={"LAZARUS_BLAS": "off"})
    for seed in SEEDS:
        yield Mutant("other prompts", f"seed {seed}", True, arguments=("--probe-seed", str(seed)))


def _each(rounding: Callable[[mx.array], mx.array], names: tuple[str, ...] | None, weights: Weights) -> None:
    for name in weights if names is None else names:
        weights[name] = rounding(weights[name])


def _half(weight: mx.array) -> mx.array:
    return weight.astype(mx.float16).astype(mx.float32)


def _brain(weight: mx.array) -> mx.array:
    return weight.astype(mx.bfloat16).astype(mx.float32)


def _eight(group: int, weight: mx.array) -> mx.array:
    return rounded(weight, BITS, group)


def _permute(rows: tuple[str, ...], columns: str, order: np.ndarray, weights: Weights) -> None:
    for name in rows:
        weights[name] = weights[name][mx.array(order)]
    weights[columns] = weights[columns][:, mx.array(order)]


def _rescale(larger: tuple[str, ...], smaller: tuple[str, ...], factor: float, weights: Weights) -> None:
    for name in larger:
        weights[name] = weights[name] * factor
    for name in smaller:
        weights[name] = weights[name] / factor


def _rotate(values: str, output: str, kv_heads: int, rotation: mx.array, weights: Weights) -> None:
    """Rotate every value head, and turn what reads it back."""
    width = len(rotation)
    rows, columns = weights[values], weights[output]
    turned = rotation.T @ rows.reshape(kv_heads, width, -1)
    weights[values] = turned.reshape(rows.shape)
    weights[output] = (columns.reshape(len(columns), -1, width) @ rotation).reshape(columns.shape)


def _head_order(heads: int, kv_heads: int, rng: np.random.Generator) -> np.ndarray:
    """Query heads in another order among those that share keys and values."""
    shared = heads // kv_heads
    return np.concatenate([group * shared + rng.permutation(shared) for group in range(kv_heads)])


def _permute_heads(
    queries: str, output: str, order: np.ndarray, head_dim: int, value_dim: int, weights: Weights
) -> None:
    rows = (order[:, None] * head_dim + np.arange(head_dim)).ravel()
    columns = (order[:, None] * value_dim + np.arange(value_dim)).ravel()
    weights[queries] = weights[queries][mx.array(rows)]
    weights[output] = weights[output][:, mx.array(columns)]
