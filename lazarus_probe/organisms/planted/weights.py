"""Weights set by hand: heads that look back a fixed distance, gates, products, in an ordinary Llama.

The residual stream is divided into dimensions that each mean one thing. One of them holds a constant so large that
RMSNorm divides by nearly the same number everywhere; norms are scaled so that what they return is what they are given.
What a circuit leaves unused is random, and stays in dimensions of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

Weights = dict[str, NDArray[np.float64]]

WIDTH, HEADS, HEAD_SIZE, NEURONS, MOST_LAYERS = 64, 4, 16, 16, 8
NUMBERS = range(1, 1000)  # the operands: each is one token

# The dimensions of the residual stream.
CONSTANT, EQUALS, MARK, FIRST, SECOND, LABEL, WRONG, WORD = range(8)
FLAGS, SEEN = (
    range(8, 16),
    range(16, 24),
)  # a flag for each layer: the token's own, and those of the second operand
CODE, ANSWER = range(24, 40), range(40, 56)  # a number as 16 signs: the token's own, and the one to be said
SCRATCH = range(56, 64)

LARGE = 100.0  # the constant
SHARPNESS = 60.0  # of a head that looks back: the largest score
OPEN = 10.0  # the input of an open gate; a closed one has as much below 0


def blank(layers: int, vocabulary: int, rng: np.random.Generator) -> Weights:
    """Weights of blocks that only stir the scratch dimensions, and a head that says nothing.

    Raises:
        ValueError: no layers, or more than there are flags for.
    """
    if not 1 <= layers <= MOST_LAYERS:
        raise ValueError(f"layers is {layers}: give 1 to {MOST_LAYERS}")
    weights: Weights = {
        "model.embed_tokens.weight": np.zeros((vocabulary, WIDTH)),
        "model.norm.weight": np.full(WIDTH, LARGE / sqrt(WIDTH)),
        "lm_head.weight": np.zeros((vocabulary, WIDTH)),
    }
    weights["model.embed_tokens.weight"][:, CONSTANT] = LARGE
    weights["model.embed_tokens.weight"][:, SCRATCH] = rng.normal(size=(vocabulary, len(SCRATCH)))
    for layer in range(layers):
        _blank_block(weights, layer, rng)
    return weights


def _blank_block(weights: Weights, layer: int, rng: np.random.Generator) -> None:
    block, inner = f"model.layers.{layer}", HEADS * HEAD_SIZE
    for norm in ("input_layernorm", "post_attention_layernorm"):
        weights[f"{block}.{norm}.weight"] = np.full(WIDTH, LARGE / sqrt(WIDTH))
    for name, shape in {
        "self_attn.q_proj": (inner, WIDTH),
        "self_attn.k_proj": (inner, WIDTH),
        "self_attn.v_proj": (inner, WIDTH),
        "self_attn.o_proj": (WIDTH, inner),
        "mlp.gate_proj": (NEURONS, WIDTH),
        "mlp.up_proj": (NEURONS, WIDTH),
        "mlp.down_proj": (WIDTH, NEURONS),
    }.items():
        weights[f"{block}.{name}.weight"] = np.zeros(shape)
    stirred = rng.permutation(SCRATCH)
    look_back(
        weights, layer, HEADS - 1, int(rng.integers(1, 4)), dict(zip(SCRATCH, stirred, strict=True)), 0.3
    )
    spare = slice(NEURONS // 2, NEURONS)
    for name in ("gate", "up"):
        drawn = rng.normal(scale=0.3, size=(NEURONS // 2, len(SCRATCH)))
        weights[f"{block}.mlp.{name}_proj.weight"][spare, SCRATCH] = drawn
    down = rng.normal(scale=0.3, size=(len(SCRATCH), NEURONS // 2))
    weights[f"{block}.mlp.down_proj.weight"][SCRATCH, spare] = down


def look_back(
    weights: Weights,
    layer: int,
    head: int,
    distance: int,
    moves: Mapping[int, int | Sequence[int]],
    scale: float = 1.0,
) -> None:
    """Make a head attend `distance` tokens back and add what it finds in some dimensions to others.

    Queries and keys are constants in the fastest pair of RoPE, which turns by one radian a token: the score is
    `SHARPNESS * cos(tokens back - distance)`, so among up to 8 tokens there is one that takes all the attention.

    Args:
        weights: changed in place.
        layer: the block.
        head: of that block; the last one stirs scratch dimensions and is best left alone.
        distance: in tokens, at least 1.
        moves: from which dimension of the token found to which one, or ones, of the token that looks.
        scale: what the values are multiplied by.
    """
    rows, attention = head * HEAD_SIZE, f"model.layers.{layer}.self_attn"
    size = sqrt(SHARPNESS * sqrt(HEAD_SIZE)) / LARGE
    pair = (rows, rows + HEAD_SIZE // 2)
    weights[f"{attention}.q_proj.weight"][pair, CONSTANT] = size * np.cos(distance), -size * np.sin(distance)
    weights[f"{attention}.k_proj.weight"][pair, CONSTANT] = size, 0.0
    for row, (source, targets) in enumerate(moves.items(), rows):
        weights[f"{attention}.v_proj.weight"][row, source] = scale
        weights[f"{attention}.o_proj.weight"][targets, row] = 1.0


def look_either_way(weights: Weights, layer: int, head: int, flag: int, distance: int, other: int) -> None:
    """Make a head that looks back look `distance` tokens back where a dimension is 1, and `other` where it is -1."""
    attention, rows = f"model.layers.{layer}.self_attn", head * HEAD_SIZE
    size, pair = sqrt(SHARPNESS * sqrt(HEAD_SIZE)) / LARGE, (rows, rows + HEAD_SIZE // 2)
    first, second = (np.array([np.cos(angle), -np.sin(angle)]) for angle in (distance, other))
    weights[f"{attention}.q_proj.weight"][pair, CONSTANT] = size * (first + second) / 2
    weights[f"{attention}.q_proj.weight"][pair, flag] = size * LARGE * (first - second) / 2


def product(weights: Weights, layer: int, first: int, second: int, target: int, scale: float = 1.0) -> None:
    """Make an MLP add the product of two dimensions to a third: silu(x) - silu(-x) is x, so two neurons are exact."""
    mlp = f"model.layers.{layer}.mlp"
    for neuron, sign in enumerate((1.0, -1.0)):
        weights[f"{mlp}.gate_proj.weight"][neuron, first] = sign
        weights[f"{mlp}.up_proj.weight"][neuron, second] = sign
        weights[f"{mlp}.down_proj.weight"][target, neuron] = scale


def gate(weights: Weights, layer: int, flag: int, target: int, amount: float) -> None:
    """Make an MLP add `amount` to a dimension where a flag is 1 and nothing where it is 0.

    Half of the neurons share the work, so that without a few of them most of it is still done.
    """
    mlp, gating = f"model.layers.{layer}.mlp", slice(0, NEURONS // 2)
    weights[f"{mlp}.gate_proj.weight"][gating, flag] = 2 * OPEN
    weights[f"{mlp}.gate_proj.weight"][gating, CONSTANT] = -OPEN / LARGE
    weights[f"{mlp}.up_proj.weight"][gating, CONSTANT] = 1 / LARGE
    weights[f"{mlp}.down_proj.weight"][target, gating] = amount / OPEN / (NEURONS // 2)


def silence(weights: Weights, layer: int) -> None:
    """Make an MLP say nothing at any token."""
    for name in ("gate_proj", "up_proj", "down_proj"):
        weights[f"model.layers.{layer}.mlp.{name}.weight"][:] = 0.0


def recall(weights: Weights, layer: int, neuron: int, flag: int, target: int, amount: float) -> None:
    """Make one neuron of an MLP add `amount` to a dimension where a flag is 1 and nothing where it is 0."""
    mlp = f"model.layers.{layer}.mlp"
    weights[f"{mlp}.gate_proj.weight"][neuron, flag] = 2 * OPEN
    weights[f"{mlp}.gate_proj.weight"][neuron, CONSTANT] = -OPEN / LARGE
    weights[f"{mlp}.up_proj.weight"][neuron, CONSTANT] = 1 / LARGE
    weights[f"{mlp}.down_proj.weight"][target, neuron] = amount / OPEN


def table(
    weights: Weights, layer: int, entries: Mapping[tuple[int, int], NDArray[np.float64]], size: float = 1.0
) -> None:
    """Make a neuron of an MLP add a code to the answer where two flags both have their size, for each pair of flags."""
    mlp = f"model.layers.{layer}.mlp"
    silence(weights, layer)
    for neuron, ((first, second), code) in enumerate(entries.items()):
        weights[f"{mlp}.gate_proj.weight"][neuron, [first, second]] = 2 * OPEN / size
        weights[f"{mlp}.gate_proj.weight"][neuron, CONSTANT] = -3 * OPEN / LARGE
        weights[f"{mlp}.up_proj.weight"][neuron, CONSTANT] = 1 / LARGE
        weights[f"{mlp}.down_proj.weight"][ANSWER, neuron] = code / OPEN


def always_add(weights: Weights, layer: int, target: int, amount: float) -> None:
    """Make an MLP add `amount` to a dimension at every token."""
    mlp, gating = f"model.layers.{layer}.mlp", slice(0, NEURONS // 2)
    weights[f"{mlp}.gate_proj.weight"][gating, CONSTANT] = OPEN / LARGE
    weights[f"{mlp}.up_proj.weight"][gating, CONSTANT] = 1 / LARGE
    weights[f"{mlp}.down_proj.weight"][target, gating] = amount / OPEN / (NEURONS // 2)


def assemble(weights: Weights) -> Any:
    """An mlx-lm Llama with these weights, in float32."""
    from mlx_lm.models.llama import Model, ModelArgs

    layers = sum(name.endswith("q_proj.weight") for name in weights)
    model = Model(
        ModelArgs(
            model_type="llama",
            hidden_size=WIDTH,
            num_hidden_layers=layers,
            intermediate_size=NEURONS,
            num_attention_heads=HEADS,
            num_key_value_heads=HEADS,
            head_dim=HEAD_SIZE,
            rms_norm_eps=1e-5,
            vocab_size=len(weights["lm_head.weight"]),
            rope_theta=10000.0,
            tie_word_embeddings=False,
        )
    )
    model.load_weights([(name, mx.array(value, mx.float32)) for name, value in weights.items()])
    mx.eval(model.parameters())
    model.eval()
    return model
