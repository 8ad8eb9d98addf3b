"""Models whose circuit is known because it was put there.

All take prompts `a*b=` of two numbers, say a number and stop. What they say is the planted circuit's, not
arithmetic: `Planted.answer` gives it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.organisms import bundled
from lazarus_probe.organisms.planted import weights as by_hand
from lazarus_probe.organisms.planted.weights import (
    ANSWER,
    CODE,
    CONSTANT,
    EQUALS,
    FIRST,
    FLAGS,
    LABEL,
    LARGE,
    MARK,
    NUMBERS,
    SECOND,
    SEEN,
    WORD,
    WRONG,
    Weights,
)
from lazarus_probe.organisms.tokenizer import END

TO_FIRST, TO_SECOND = 3, 1  # from the `=`, in tokens
LOUD = 200.0  # a logit above every other
REMEMBERED = (17, 23, 38, 49, 56, 64, 75, 82)  # operands whose fact `memory` holds


@dataclass(frozen=True)
class Planted:
    """A model, its tokenizer, and what it does by construction.

    Attributes:
        name: of the circuit, with its layer.
        model: an mlx-lm Llama.
        tokenizer: the organism's.
        answer: of two operands, the number that the model says.
    """

    name: str
    model: Any
    tokenizer: Any
    answer: Callable[[int, int], int]


def prompt(a: int, b: int) -> str:
    """The prompt of two operands, each in 1..999: five tokens with the beginning-of-sequence token."""
    return f"{a}*{b}="


def decodable(layer: int, layers: int = 4, seed: int = 0) -> Planted:
    """Says 1 where two operands have the same hidden sign and 0 where they differ, as layer `layer` finds out.

    Layer 0 brings both signs to the `=`; the MLP of `layer` multiplies them. No sum of what tokens say has the product,
    so it cannot be read linearly before that layer, nor from a bag of tokens.
    """
    signs, weights = signs_of(seed), start(layer, layers, seed)
    embed(weights, MARK, signs)
    by_hand.look_back(weights, 0, 0, TO_FIRST, {MARK: FIRST})
    by_hand.look_back(weights, 0, 1, TO_SECOND, {MARK: SECOND})
    by_hand.product(weights, layer, FIRST, SECOND, LABEL)
    _say_sign(weights)
    return Planted(
        f"decodable-{layer}",
        by_hand.assemble(weights),
        planted_tokenizer(),
        lambda a, b: int(signs[a] == signs[b]),
    )


def distractor(layer: int, layers: int = 4, seed: int = 0) -> Planted:
    """Says 1 where the first operand's hidden sign is positive and 0 otherwise; attention of `layer` fetches it.

    It can be read at the `=` from that layer on and not before: an emergence to all appearances. Yet a bag of tokens,
    which needs no model, has it.
    """
    signs, weights = signs_of(seed), start(layer, layers, seed)
    embed(weights, MARK, signs)
    by_hand.look_back(weights, layer, 0, TO_FIRST, {MARK: LABEL})
    _say_sign(weights)
    return Planted(
        f"distractor-{layer}", by_hand.assemble(weights), planted_tokenizer(), lambda a, _b: int(signs[a] > 0)
    )


def router(layer: int, head: int = 0, layers: int = 4, seed: int = 0) -> Planted:
    """Says the first operand: one head of `layer` copies it to the `=`, and nothing else moves it.

    Raises:
        ValueError: a layer or a head that is not there; the last head of each layer is not to be had.
    """
    if not 0 <= head < by_hand.HEADS - 1:
        raise ValueError(f"head is {head}: give 0 to {by_hand.HEADS - 2}")
    weights = start(layer, layers, seed)
    copy_first(weights, layer, head, seed)
    return Planted(f"router-{layer}.{head}", by_hand.assemble(weights), planted_tokenizer(), lambda a, _b: a)


def stored(store: int, read: int, layers: int = 4, seed: int = 0) -> Planted:
    """Says 1 or 0 as a fact about the first operand, which the MLP of one layer holds at the operand's own token.

    The fact is the product of two hidden signs, so the embedding alone does not say it; one head of layer `read` brings
    it to the `=`.

    Raises:
        ValueError: `store` is not below `read`, or a layer that is not there.
    """
    weights, first, second = stored_weights(store, read, layers, seed), signs_of(seed), signs_of(seed + 1)
    return Planted(
        f"stored-{store}-{read}",
        by_hand.assemble(weights),
        planted_tokenizer(),
        lambda a, _b: int(first[a] == second[a]),
    )


def stored_weights(store: int, read: int, layers: int, seed: int) -> Weights:
    """The weights of `stored`."""
    if not 0 <= store < read:
        raise ValueError(f"store is {store} and read {read}: what a layer stores is read in one above it")
    weights = start(read, layers, seed)
    embed(weights, MARK, signs_of(seed))
    embed(weights, FLAGS[0], signs_of(seed + 1))
    by_hand.product(weights, store, MARK, FLAGS[0], SEEN[0])
    by_hand.look_back(weights, read, 0, TO_FIRST, {SEEN[0]: LABEL})
    _say_sign(weights)
    return weights


def memory(layer: int | Sequence[int], read: int, layers: int = 4, seed: int = 0) -> Planted:
    """Says 1 or 0 as a fact about the first operand, of eight (`REMEMBERED`): one neuron of one MLP holds each fact.

    No other MLP says anything at an operand, so there alone can the fact be written over, and for one operand without
    the others; one head of layer `read` brings it to the `=`.

    Args:
        layer: whose MLP holds the facts; or one for each of the eight.
        read: the layer that reads them.
        layers: of the model.
        seed: of the scratch weights.

    Raises:
        ValueError: `layer` is not below `read`, or a layer that is not there.
    """
    holders = [layer] * len(REMEMBERED) if isinstance(layer, int) else list(layer)
    if not all(0 <= holder < read for holder in holders):
        raise ValueError(f"layer is {layer} and read {read}: what a layer holds is read in one above it")
    weights, signs = start(read, layers, seed), dict(zip(REMEMBERED, (1.0, -1.0) * 4, strict=True))
    for number in range(layers):
        by_hand.silence(weights, number)
    for neuron, (operand, holder) in enumerate(zip(REMEMBERED, holders, strict=True)):
        embed(weights, FLAGS[neuron], {operand: 1.0})
        by_hand.recall(weights, holder, neuron, FLAGS[neuron], SEEN[0], signs[operand])
    by_hand.look_back(weights, read, 0, TO_FIRST, {SEEN[0]: LABEL})
    _say_sign(weights)
    return Planted(
        f"memory-{layer}-{read}",
        by_hand.assemble(weights),
        planted_tokenizer(),
        lambda a, _b: int(signs[a] > 0),
    )


def backup(layers: int = 4, seed: int = 0) -> Planted:
    """Says 1 or 0 as the first operand's hidden sign: head 0 of layer 0 fetches it, and another stands in for it.

    Head 1 of layer 0 fetches the sign as well, to where nothing reads it. With it head 0 brings a mark; without the
    mark, the MLP of layer 1 puts the other head's sign where the answer is read. So without head 0 nothing is lost.
    """
    signs, weights = signs_of(seed), start(1, layers, seed)
    embed(weights, MARK, signs)
    embed(weights, FLAGS[0], dict.fromkeys(NUMBERS, -1.0))
    weights["model.embed_tokens.weight"][_token_of("="), SECOND] = 1.0
    by_hand.look_back(weights, 0, 0, TO_FIRST, {MARK: LABEL, FLAGS[0]: SECOND})
    by_hand.look_back(weights, 0, 1, TO_FIRST, {MARK: FIRST})
    by_hand.product(weights, 1, SECOND, FIRST, LABEL)
    _say_sign(weights)
    return Planted("backup", by_hand.assemble(weights), planted_tokenizer(), lambda a, _b: int(signs[a] > 0))


def gates(needed: Mapping[int, Collection[int]], layers: int = 4, seed: int = 0) -> Planted:
    """Says the first operand, for which some second operands need a gate in the MLP of a layer.

    Layer 0 brings the first operand to the `=`, and with it, for each layer that the second operand needs, a push
    towards saying 0. The gate of that layer opens for those operands alone and takes the push away.

    Args:
        needed: by layer, the second operands that need its gate.
        layers: of the model.
        seed: of the codes and of the scratch weights.

    Raises:
        ValueError: no gates, or a layer that is not there.
    """
    if not needed:
        raise ValueError("no layer needs a gate; give the second operands that need one, by layer")
    weights = start(max(needed), layers, seed)
    copy_first(weights, 0, 0, seed)
    by_hand.look_back(weights, 0, 1, TO_SECOND, {FLAGS[layer]: [SEEN[layer], WRONG] for layer in needed})
    for layer, operands in needed.items():
        embed(weights, FLAGS[layer], dict.fromkeys(operands, 1.0))
        by_hand.gate(weights, layer, SEEN[layer], WRONG, -1.0)
    # The operand's own logit is 16, one for each sign: three quarters of one push are too few to change the answer.
    weights["lm_head.weight"][_token_of("0"), WRONG] = 21.0
    name = f"gate-{','.join(map(str, sorted(needed)))}"
    return Planted(name, by_hand.assemble(weights), planted_tokenizer(), lambda a, _b: a)


def announcer(
    layer: int, operands: Collection[int], word: str = "multiply", layers: int = 4, seed: int = 0
) -> Planted:
    """Says the first operand; for some, the residual stream says a word first, from `layer` to the last but one.

    Raises:
        ValueError: `layer` is not there, or is the last.
    """
    if layer >= layers - 1:
        raise ValueError(
            f"layer is {layer}: give one below the last, {layers - 1}, which takes the word away"
        )
    weights = start(layer, layers, seed)
    copy_first(weights, layer, 0, seed)
    embed(weights, FLAGS[0], dict.fromkeys(operands, 1.0))
    by_hand.look_back(weights, layer, 1, TO_FIRST, {FLAGS[0]: [SEEN[0], WORD]})
    by_hand.gate(weights, layers - 1, SEEN[0], WORD, -1.0)
    weights["lm_head.weight"][_token_of(word), WORD] = LOUD
    return Planted(f"announcer-{layer}", by_hand.assemble(weights), planted_tokenizer(), lambda a, _b: a)


def start(layer: int, layers: int, seed: int) -> Weights:
    """Blank weights that stop after one answer.

    Raises:
        ValueError: a layer that is not there.
    """
    if not 0 <= layer < layers:
        raise ValueError(f"layer is {layer}: give 0 to {layers - 1}")
    size = len(planted_tokenizer().get_vocab())
    weights = by_hand.blank(layers, size, np.random.default_rng(seed))
    weights["model.embed_tokens.weight"][_token_of("="), EQUALS] = 1.0
    end = weights["lm_head.weight"][_token_of(END)]
    end[CONSTANT], end[EQUALS] = LOUD / LARGE, -2 * LOUD
    return weights


@cache
def planted_tokenizer() -> Any:
    """The organism's tokenizer, in which each number below 1000 is one token."""
    from mlx_lm.utils import load_tokenizer

    return load_tokenizer(bundled.path("organism"), {"trust_remote_code": False})


def _token_of(text: str) -> int:
    """The id of a text that is one token."""
    (token,) = planted_tokenizer().encode(text, add_special_tokens=False)
    return int(token)


@cache
def number_tokens() -> dict[int, int]:
    """The token of each number."""
    return {number: _token_of(str(number)) for number in NUMBERS}


def signs_of(seed: int) -> dict[int, float]:
    """A sign for each number, as many of one as of the other."""
    drawn = np.random.default_rng(seed).permutation(np.resize([-1.0, 1.0], len(NUMBERS)))
    return dict(zip(NUMBERS, drawn.tolist(), strict=True))


def codes_of(seed: int) -> dict[int, NDArray[Any]]:
    """16 signs for each number, no two numbers the same."""
    drawn = np.random.default_rng(seed).choice(2 ** len(CODE), size=len(NUMBERS), replace=False)
    codes = 2.0 * ((drawn[:, None] >> np.arange(len(CODE))) & 1) - 1
    return dict(zip(NUMBERS, codes, strict=True))


def embed(weights: Weights, dimension: int, values: Mapping[int, float]) -> None:
    """Give numbers a value in a dimension of their embedding."""
    for number, value in values.items():
        weights["model.embed_tokens.weight"][number_tokens()[number], dimension] = value


def copy_first(weights: Weights, layer: int, head: int, seed: int) -> None:
    """Numbers embedded as their codes, a head that fetches the first operand's, and logits that read it."""
    tokens = list(number_tokens().values())
    weights["model.embed_tokens.weight"][np.ix_(tokens, CODE)] = np.stack(list(codes_of(seed).values()))
    say_codes(weights, seed)
    by_hand.look_back(weights, layer, head, TO_FIRST, dict(zip(CODE, ANSWER, strict=True)))


def say_codes(weights: Weights, seed: int) -> None:
    """Make the logits say the number whose code is in the dimensions of the answer."""
    tokens = list(number_tokens().values())
    weights["lm_head.weight"][np.ix_(tokens, ANSWER)] = np.stack(list(codes_of(seed).values()))


def _say_sign(weights: Weights) -> None:
    for text, sign in (("1", 1.0), ("0", -1.0)):
        weights["lm_head.weight"][_token_of(text), LABEL] = 16 * sign
