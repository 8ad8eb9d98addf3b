"""A model with a function vector: examples say which of two tasks it is, and one head brings that to the question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.organisms.planted import weights as by_hand
from lazarus_probe.organisms.planted.circuits import number_tokens, planted_tokenizer
from lazarus_probe.organisms.planted.weights import (
    EQUALS,
    FIRST,
    FLAGS,
    LABEL,
    MARK,
    NUMBERS,
    SECOND,
    SEEN,
    WORD,
    Weights,
)

Pair = tuple[str, str]
FORM = "{input}={output}+"
DEFAULT = "2"  # said where no task is known
ASKED, LAST_OUTPUT, OWN_INPUT = (
    1,
    3,
    2,
)  # tokens back: of the `=` to the number and the last output, of an output


@dataclass(frozen=True)
class PlantedFunction:
    """A model, its tokenizer, and the function vector that it has by construction.

    Attributes:
        name: of the circuit, with its layers.
        model: an mlx-lm Llama.
        tokenizer: the organism's.
        form: of an example.
        head: layer and head of the only one that brings the task.
        tasks: by name the pairs of a number and what the task makes of it.
        vectors: by name of a task (D,) the function vector.
    """

    name: str
    model: Any
    tokenizer: Any
    form: str
    head: tuple[int, int]
    tasks: Mapping[str, tuple[Pair, ...]]
    vectors: Mapping[str, NDArray[np.float64]]


def function_vector(
    layer: int = 1, head: int = 0, use: int = 2, layers: int = 4, pairs: int = 40, seed: int = 0
) -> PlantedFunction:
    """Says 1 or 0 as a number's hidden sign, or the other way round, as the example before showed; 2 without examples.

    Layer 0 multiplies the sign of each example's number with what its output says, at the output. The head of `layer`
    fetches that to the `=`, and the MLP of `use` multiplies it with the sign of the number that is asked about.

    Raises:
        ValueError: not 0 < layer < use, a layer or a head that is not there, or more pairs than there are numbers.
    """
    if not (0 < layer < use < layers and 0 <= head < by_hand.HEADS - 1):
        raise ValueError(
            f"layer is {layer}, head {head}, use {use}: give 0 < layer < use < {layers}, head 0 to {by_hand.HEADS - 2}"
        )
    inputs = NUMBERS[2:]  # 1 and 2 are said
    if not 2 <= pairs <= len(inputs):
        raise ValueError(f"pairs is {pairs}: give 2 to {len(inputs)}")
    tokenizer, rng = planted_tokenizer(), np.random.default_rng(seed)
    weights = by_hand.blank(layers, len(tokenizer.get_vocab()), rng)
    tokens, embedding = number_tokens(), weights["model.embed_tokens.weight"]
    signs = dict(zip(inputs, rng.permutation(np.resize([-1.0, 1.0], len(inputs))), strict=True))
    for number, sign in signs.items():
        embedding[tokens[number], MARK] = sign
    (one,), (zero,), (equals,), (default,) = (
        tokenizer.encode(text, add_special_tokens=False) for text in ("1", "0", "=", DEFAULT)
    )
    embedding[[one, zero], FLAGS[0]] = 1.0, -1.0
    embedding[equals, EQUALS] = 1.0
    look_far_back(weights, 0, 0, OWN_INPUT, {MARK: FIRST})
    look_far_back(weights, 0, 1, ASKED, {MARK: SECOND})
    by_hand.product(weights, 0, FIRST, FLAGS[0], SEEN[0])
    look_far_back(weights, layer, head, LAST_OUTPUT, {SEEN[0]: WORD})
    by_hand.product(weights, use, SECOND, WORD, LABEL)
    head_weights = weights["lm_head.weight"]
    head_weights[[one, zero], LABEL] = 16.0, -16.0
    head_weights[default, EQUALS] = 8.0
    chosen = sorted(rng.choice(inputs, pairs, replace=False).tolist())
    ways = {"sign": 1.0, "opposite": -1.0}
    return PlantedFunction(
        f"function-vector-{layer}.{head}-{use}",
        by_hand.assemble(weights),
        tokenizer,
        FORM,
        (layer, head),
        {
            name: tuple((str(number), "1" if way * signs[number] > 0 else "0") for number in chosen)
            for name, way in ways.items()
        },
        {name: way * np.eye(by_hand.WIDTH)[WORD] for name, way in ways.items()},
    )


def look_far_back(
    weights: Weights, layer: int, head: int, distance: int, moves: Mapping[int, int], pairs: int = 3
) -> None:
    """Make a head attend `distance` tokens back, among some sixty, and add what it finds in dimensions to others.

    The three fastest pairs of RoPE agree at one distance alone.
    """
    attention, first = f"model.layers.{layer}.self_attn", head * by_hand.HEAD_SIZE
    size, half = sqrt(by_hand.SHARPNESS * 4) / by_hand.LARGE, by_hand.HEAD_SIZE // 2
    for pair in range(pairs):
        turn = distance * 10000.0 ** (-pair / half)
        rows = [first + pair, first + pair + half]
        weights[f"{attention}.q_proj.weight"][rows, by_hand.CONSTANT] = (
            size * np.cos(turn),
            -size * np.sin(turn),
        )
        weights[f"{attention}.k_proj.weight"][rows[0], by_hand.CONSTANT] = size
    for row, (source, target) in enumerate(moves.items(), first):
        weights[f"{attention}.v_proj.weight"][row, source] = 1.0
        weights[f"{attention}.o_proj.weight"][target, row] = 1.0
