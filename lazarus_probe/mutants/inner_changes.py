"""Changes inside a model that what it says on a few prompts may hardly show."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

import mlx.core as mx
import numpy as np

from lazarus_probe.mutants.mutant import Change, Mutant, Weights, random_rotation
from lazarus_probe.mutants.places import Block, blocks

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

DIGITS = "0123456789"
NOISE = (0.01, 0.03, 0.1)  # standard deviations of the noise, in those of the weight
DRAWS = 5  # of the noise of each size
KEPT = 0.5  # of an output that is scaled
LOST_NEURONS = 0.25  # share of a layer's
BITS, GROUP = 2, 32


def inner_mutants(subject: Subject, seed: int = 0) -> tuple[Mutant, ...]:
    """The inner changes of a model, those of one kind next to each other.

    Kinds that a block has no weights for, as heads where a mixer stands, are left out there.

    Args:
        subject: the model.
        seed: of rotations, permutations and noise.
    """
    rng = np.random.default_rng(seed)
    layers = blocks(subject)
    return tuple(
        Mutant(kind, place, harmless=False, change=change)
        for make in (_of_heads, _of_mlps, _of_blocks, _of_neighbours, _of_digits, _of_all)
        for kind, place, change in make(subject, layers, rng)
    )


def _of_heads(_: Subject, layers: tuple[Block, ...], rng: np.random.Generator) -> Iterator[Change]:
    for block in layers:
        if block.heads is None or block.output is None:
            continue
        heads, width = block.heads.num_heads, block.heads.value_dim
        rotated, (one, other) = int(rng.integers(heads)), _pair(heads, rng)
        rotation = mx.array(random_rotation(width, rng))
        place = f"L{block.layer}"
        for zeroed in sorted({one, other}):
            yield "head zeroed", f"{place}H{zeroed}", partial(_zero_head, block.output, zeroed, width)
        yield "head rotated", f"{place}H{rotated}", partial(_rotate_head, block.output, rotated, rotation)
        if heads > 1:
            exchange = partial(_exchange_heads, block.output, one, other, width)
            yield "heads exchanged", f"{place}H{one} and H{other}", exchange
        yield "attention halved", place, partial(_scale, block.output, KEPT)


def _of_mlps(_: Subject, layers: tuple[Block, ...], rng: np.random.Generator) -> Iterator[Change]:
    for block in layers:
        if block.down is None or block.hidden is None:
            continue
        place, order = f"L{block.layer}", rng.permutation(block.hidden)
        lost = order[: int(LOST_NEURONS * block.hidden)]
        yield "neurons permuted", place, partial(_permute_columns, block.down, order)
        yield "neurons zeroed", place, partial(_zero_columns, block.down, lost)
        yield "mlp halved", place, partial(_scale, block.down, KEPT)
        outputs = (block.down,) if block.output is None else (block.down, block.output)
        yield "direction erased", place, partial(_erase_direction, outputs)


def _of_blocks(_: Subject, layers: tuple[Block, ...], __: np.random.Generator) -> Iterator[Change]:
    for block in layers:
        if block.linear:
            yield "2-bit layer", f"L{block.layer}", partial(_round, block.linear, BITS, GROUP)


def _of_neighbours(_: Subject, layers: tuple[Block, ...], __: np.random.Generator) -> Iterator[Change]:
    for block, following in pairwise(layers):
        yield (
            "layers swapped",
            f"L{block.layer} and L{following.layer}",
            partial(_swap, block.path, following.path),
        )


def _of_digits(subject: Subject, _: tuple[Block, ...], rng: np.random.Generator) -> Iterator[Change]:
    """Digits that are one token each, whose rows of the embedding change places."""
    if subject.tokenizer is None:
        return
    ids = {digit: token for digit in DIGITS if (token := _token(subject, digit)) is not None}
    paths = {id(module): path for path, module in subject.model.named_modules()}
    name = f"{paths[id(subject.anatomy.embedding)]}.weight"
    for one, other in rng.permutation([*ids])[: len(ids) // 2 * 2].reshape(-1, 2).tolist():
        yield "digits swapped", f"{one} and {other}", partial(_exchange_rows, name, ids[one], ids[other])


def _token(subject: Subject, text: str) -> int | None:
    """The last token of a text of one character, if it is that character."""
    ids = subject.encode(text)
    return ids[-1] if subject.decode([ids[-1]]).strip() == text else None


def _of_all(_subject: Subject, _layers: tuple[Block, ...], rng: np.random.Generator) -> Iterator[Change]:
    for share in NOISE:
        for _ in range(DRAWS):
            seed = int(rng.integers(2**31))
            yield f"noise of {share:.0%}", f"seed {seed}", partial(_add_noise, share, seed)


def _pair(count: int, rng: np.random.Generator) -> tuple[int, int]:
    first, *rest = (int(number) for number in rng.permutation(count)[:2])
    return first, rest[0] if rest else first


def _zero_head(name: str, head: int, width: int, weights: Weights) -> None:
    weights[name][:, head * width : (head + 1) * width] = 0


def _rotate_head(name: str, head: int, rotation: mx.array, weights: Weights) -> None:
    width = len(rotation)
    own = slice(head * width, (head + 1) * width)
    weights[name][:, own] = weights[name][:, own] @ rotation


def _exchange_heads(name: str, one: int, other: int, width: int, weights: Weights) -> None:
    order = np.arange(weights[name].shape[1])
    first, second = (slice(head * width, (head + 1) * width) for head in (one, other))
    order[first], order[second] = order[second].copy(), order[first].copy()
    _permute_columns(name, order, weights)


def _permute_columns(name: str, order: np.ndarray, weights: Weights) -> None:
    weights[name] = weights[name][:, mx.array(order)]


def _zero_columns(name: str, columns: np.ndarray, weights: Weights) -> None:
    weights[name][:, mx.array(columns)] = 0


def _exchange_rows(name: str, one: int, other: int, weights: Weights) -> None:
    order = np.arange(weights[name].shape[0])
    order[[one, other]] = order[[other, one]]
    weights[name] = weights[name][mx.array(order)]


def _scale(name: str, factor: float, weights: Weights) -> None:
    weights[name] = weights[name] * factor


def _erase_direction(names: tuple[str, ...], weights: Weights) -> None:
    """Take out of what a block writes the direction that its MLP writes most along."""
    down = np.array(weights[names[0]])
    _, vectors = np.linalg.eigh(down @ down.T)
    direction = mx.array(vectors[:, -1:])
    for name in names:
        weights[name] = weights[name] - direction @ (direction.T @ weights[name])


def _round(names: tuple[str, ...], bits: int, group: int, weights: Weights) -> None:
    for name in names:
        weights[name] = rounded(weights[name], bits, group)


def rounded(weight: mx.array, bits: int, group: int) -> mx.array:
    """A weight (D, M) as mlx quantises it, read back; itself where its rows are no multiple of the group."""
    if weight.ndim != 2 or weight.shape[1] % group:
        return weight
    return mx.dequantize(*mx.quantize(weight, group, bits), group, bits)


def _swap(one: str, other: str, weights: Weights) -> None:
    for name in [name for name in weights if name.startswith(one)]:
        twin = other + name.removeprefix(one)
        if twin in weights and weights[twin].shape == weights[name].shape:
            weights[name], weights[twin] = weights[twin], weights[name]


def _add_noise(share: float, seed: int, weights: Weights) -> None:
    rng = np.random.default_rng(seed)
    for name, weight in weights.items():
        if weight.ndim == 2:
            noise = rng.standard_normal(weight.shape, dtype=np.float32)
            weights[name] = weight + share * mx.std(weight) * mx.array(noise)
