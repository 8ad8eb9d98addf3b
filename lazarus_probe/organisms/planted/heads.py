"""Models known for any tokens: induction, counting on, a sink with its massive activation, a stream that grows.

Unlike `circuits`, they have no answer to a prompt of two numbers: what is known is which head does what.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.organisms.planted import weights as by_hand
from lazarus_probe.organisms.planted.circuits import number_tokens, planted_tokenizer
from lazarus_probe.organisms.planted.functions import look_far_back
from lazarus_probe.organisms.planted.weights import (
    ANSWER,
    CODE,
    CONSTANT,
    FIRST,
    FLAGS,
    LABEL,
    SCRATCH,
    SECOND,
    WORD,
    WRONG,
    Weights,
)

# Dimensions of what an induction head says: the flags, which no circuit of these models has.
SAID = range(8, 24)
SLOW = (4, 5, 6, 7, 12, 13, 14, 15)  # the rows of a head in pairs of RoPE that hardly turn
MATCHED = 6.0
Head = tuple[int, int]


@dataclass(frozen=True)
class PlantedHeads:
    """A model, its tokenizer, and its heads by what they do.

    Attributes:
        name: of the circuit, with its layers.
        model: an mlx-lm Llama.
        tokenizer: the organism's.
        heads: by what it is, layer and head. The last head of each layer stirs scratch dimensions, and looks back a
            distance of one to three tokens, drawn at random.
    """

    name: str
    model: Any
    tokenizer: Any
    heads: Mapping[str, Head]


def induction(previous: int = 0, layer: int = 1, layers: int = 2, seed: int = 0) -> PlantedHeads:
    """Goes on with what followed the last token before: a previous-token head, and an induction head that copies.

    Head 0 of `previous` brings each token the code of the one before. Head 1 of `layer` looks for the token that came
    after this one's first occurrence, and adds its code where the unembedding reads it, so by its weights it copies.

    Raises:
        ValueError: `previous` is not below `layer`, or a layer that is not there.
    """
    if not 0 <= previous < layer < layers:
        raise ValueError(f"previous is {previous} and layer {layer}: give 0 <= previous < layer < {layers}")
    size, rng = len(planted_tokenizer().get_vocab()), np.random.default_rng(seed)
    weights = by_hand.blank(layers, size, rng)
    codes = _codes(size, rng)
    weights["model.embed_tokens.weight"][:, CODE] = codes
    weights["lm_head.weight"][:, SAID] = codes
    look_far_back(weights, previous, 0, 1, dict(zip(CODE, ANSWER, strict=True)))
    _match(weights, layer, 1)
    heads = {"previous": (previous, 0), "induction": (layer, 1)}
    return _planted(f"induction-{previous}.0-{layer}.1", weights, heads)


def successor(
    layer: int = 1, head: int = 2, period: int = 20, layers: int = 2, seed: int = 0
) -> PlantedHeads:
    """By its weights, one head turns each number into the next: numbers lie on a circle, and it turns by one step.

    Raises:
        ValueError: a layer or a head that is not there; the last head of each layer is not to be had.
    """
    if not (0 <= layer < layers and 0 <= head < by_hand.HEADS - 1):
        raise ValueError(
            f"head {layer}.{head}: give layers 0 to {layers - 1} and heads 0 to {by_hand.HEADS - 2}"
        )
    weights = by_hand.blank(layers, len(planted_tokenizer().get_vocab()), np.random.default_rng(seed))
    for number, token in number_tokens().items():
        place = 2 * pi * number / period
        weights["model.embed_tokens.weight"][token, [FIRST, SECOND]] = np.cos(place), np.sin(place)
        weights["lm_head.weight"][token, [LABEL, WRONG]] = np.cos(place), np.sin(place)
    attention, first, step = f"model.layers.{layer}.self_attn", head * by_hand.HEAD_SIZE, 2 * pi / period
    weights[f"{attention}.v_proj.weight"][first, [FIRST, SECOND]] = np.cos(step), -np.sin(step)
    weights[f"{attention}.v_proj.weight"][first + 1, [FIRST, SECOND]] = np.sin(step), np.cos(step)
    weights[f"{attention}.o_proj.weight"][[LABEL, WRONG], [first, first + 1]] = 1.0
    return _planted(f"successor-{layer}.{head}", weights, {"successor": (layer, head)})


def sink(
    layer: int = 1, heads: int = 2, value: float = 5000.0, layers: int = 4, seed: int = 0
) -> PlantedHeads:
    """Has a massive activation after `layer` at the beginning-of-sequence token, which heads above it sink into.

    The MLP of `layer` adds `value` to dimension `WORD` at that token, and to nothing elsewhere. Heads 0 to `heads` - 1
    of every layer above look for it. What they read anywhere else raises the word `multiply` above all others; from the
    sink they read next to nothing: without the massive activation the model says that word to everything.

    Raises:
        ValueError: a layer that is not there or the last, or more heads than can be had.
    """
    if not (0 <= layer < layers - 1 and 1 <= heads < by_hand.HEADS):
        raise ValueError(
            f"layer is {layer} and heads {heads}: give layers 0 to {layers - 2} and 1 to {by_hand.HEADS - 1} heads"
        )
    tokenizer, rng = planted_tokenizer(), np.random.default_rng(seed)
    size = len(tokenizer.get_vocab())
    weights = by_hand.blank(layers, size, rng)
    embedding = weights["model.embed_tokens.weight"]
    # Most dimensions hold something, so that the median is no 0.
    embedding[:, [*CODE, *ANSWER]] = rng.choice([-1.0, 1.0], size=(size, len(CODE) + len(ANSWER)))
    embedding[tokenizer.bos_token_id, FLAGS[0]] = 1.0
    embedding[:, LABEL] = 1.0
    by_hand.gate(weights, layer, FLAGS[0], WORD, value)
    for above in range(layer + 1, layers):
        for head in range(heads):
            _sink_into(weights, above, head)
    (word,) = tokenizer.encode("multiply", add_special_tokens=False)
    weights["lm_head.weight"][word, WRONG] = 20.0
    sunk = {
        f"sink {number}.{head}": (number, head)
        for number in range(layer + 1, layers)
        for head in range(heads)
    }
    return _planted(f"sink-{layer}", weights, sunk)


def _sink_into(weights: Weights, layer: int, head: int) -> None:
    """Queries are a constant and keys the massive dimension, in a pair of RoPE that hardly turns."""
    attention, row = f"model.layers.{layer}.self_attn", head * by_hand.HEAD_SIZE + SLOW[0]
    size = sqrt(by_hand.SHARPNESS) / by_hand.LARGE
    weights[f"{attention}.q_proj.weight"][row, CONSTANT] = size
    # A massive value is LARGE after the norm, as it makes up nearly all of the token's length.
    weights[f"{attention}.k_proj.weight"][row, WORD] = size
    weights[f"{attention}.v_proj.weight"][row, LABEL] = 1.0
    weights[f"{attention}.o_proj.weight"][WRONG, row] = 1.0


def growing(factor: float = 1.5, layers: int = 6, seed: int = 0) -> PlantedHeads:
    """Every layer makes the residual stream `factor` times as long, at all tokens, by its MLP; heads do nothing.

    All states have one large dimension in common: raw they are all alike, and without it as good as unrelated.
    """
    size, rng = len(planted_tokenizer().get_vocab()), np.random.default_rng(seed)
    weights = by_hand.blank(layers, size, rng)
    others = [dimension for dimension in range(by_hand.WIDTH) if dimension != CONSTANT]
    weights["model.embed_tokens.weight"][:, others] = rng.normal(size=(size, len(others)))
    for layer in range(layers):
        by_hand.always_add(weights, layer, CONSTANT, by_hand.LARGE * factor**layer * (factor - 1))
    return _planted(f"growing-{factor:g}", weights, {})


def entropy_neurons(size: float = 3.0, layers: int = 2, seed: int = 0) -> PlantedHeads:
    """Two neurons of the last block write where the unembedding reads nothing, much or little by the last token.

    What they write, `size` times a number that is drawn for each token and times the constant, makes the stream longer,
    so that the final norm makes all logits smaller. All else that is written is read.
    """
    vocabulary, rng = len(planted_tokenizer().get_vocab()), np.random.default_rng(seed)
    weights = by_hand.blank(layers, vocabulary, rng)
    weights["model.embed_tokens.weight"][:, LABEL] = rng.normal(size=vocabulary)
    weights["model.embed_tokens.weight"][:, CODE] = rng.normal(size=(vocabulary, len(CODE)))
    read = [*CODE, *SCRATCH]
    weights["lm_head.weight"][:, read] = 0.5 * rng.normal(size=(vocabulary, len(read)))
    by_hand.product(weights, layers - 1, LABEL, CONSTANT, WORD, size)
    return _planted(f"entropy-{layers - 1}", weights, {})


def _codes(size: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """(size, 16) of one length in the slow rows and in the others, so that nothing matches a code as well as itself."""
    codes = rng.normal(size=(size, len(CODE)))
    for rows in (list(SLOW), [row for row in range(len(CODE)) if row not in SLOW]):
        codes[:, rows] *= sqrt(len(rows)) / np.linalg.norm(codes[:, rows], axis=1, keepdims=True)
    return codes


def _match(weights: Weights, layer: int, head: int) -> None:
    """Queries are the token's own code and keys that of the token before, in pairs that hardly turn."""
    attention, first = f"model.layers.{layer}.self_attn", head * by_hand.HEAD_SIZE
    for row in SLOW:
        weights[f"{attention}.q_proj.weight"][first + row, CODE[row]] = MATCHED
        weights[f"{attention}.k_proj.weight"][first + row, ANSWER[row]] = MATCHED
    for row, (source, target) in enumerate(zip(CODE, SAID, strict=True)):
        weights[f"{attention}.v_proj.weight"][first + row, source] = 1.0
        weights[f"{attention}.o_proj.weight"][target, first + row] = 1.0


def _planted(name: str, weights: Weights, heads: Mapping[str, Head]) -> PlantedHeads:
    return PlantedHeads(name, by_hand.assemble(weights), planted_tokenizer(), heads)
