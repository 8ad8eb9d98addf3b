"""Logits of chosen tokens alone: the rows of the unembedding that no metric reads are not multiplied.

A row of a sweep ends in one product with the whole unembedding, 28 of SmolLM2's 135 million weights, and a metric such
as a logit difference reads two of its 49,152 results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import mlx.core as mx
import mlx.nn as nn
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.anatomy.anatomy import Anatomy, at_path
from lazarus_probe.anatomy.forward_pass import forward
from lazarus_probe.subject.last_position import TOLERANCE, TRIAL, relative_difference
from lazarus_probe.subject.subject import Subject
from lazarus_probe.taps import Tap, tapped, untapped

# Smaller vocabularies cost next to nothing, and models with them keep their bits.
LARGE = 8192
# Of the vocabulary: with more tokens than this the copy of their rows costs what it saves.
FEW = 1 / 8
CHOSEN = 24  # in the trial
WITH_ROWS = (nn.Linear, nn.QuantizedLinear, nn.Embedding, nn.QuantizedEmbedding)
# Parameters that have one row a token.
BY_TOKEN = ("weight", "scales", "biases", "bias")


@dataclass(frozen=True, eq=False)
class ChosenTokens:
    """Tokens (U,), ascending, whose logits are computed alone.

    Attributes:
        tokens: their ids.
        anatomy: of the model.
        module: whose rows give their logits.
    """

    tokens: NDArray[np.int32]
    anatomy: Anatomy
    module: nn.Module

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within it one forward ends in the logits (B, L, U) of these tokens.

        The other rows are gone once the last block has run, so that an embedding with the same weights is read before.
        """
        whole = {name: self.module[name] for name in BY_TOKEN if name in self.module}
        rows = mx.array(self.tokens)

        def leave_rows(call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            resid = call(*args, **kwargs)
            for name, parameter in whole.items():
                self.module[name] = parameter[rows]
            return resid

        try:
            # Around what a sweep does there, which does not call the block where all rows join after it.
            with tapped([Tap(self.anatomy.blocks[-1], around=leave_rows)], first=True):
                yield
        finally:
            for name, parameter in whole.items():
                self.module[name] = parameter


def chosen_tokens(subject: Subject, tokens: NDArray[np.int32]) -> ChosenTokens | None:
    """Some tokens (U,), ascending, if their logits can be computed alone; None where the whole vocabulary has to be.

    That is where the vocabulary is small or much of it is read, where a process holds a part of the model, and where a
    trial finds that a model makes its logits in another way, or an adapter was put on the unembedding since.
    """
    anatomy = subject.anatomy
    if anatomy.vocab_size < LARGE or not 0 < len(tokens) <= FEW * anatomy.vocab_size or anatomy.ranks:
        return None
    if subject not in _unembeddings:
        _unembeddings[subject] = _unembedding(anatomy)
    path = _unembeddings[subject]
    module = None if path is None else at_path(anatomy.model, path)
    return ChosenTokens(tokens, anatomy, module) if type(module) in WITH_ROWS else None


_unembeddings: WeakKeyDictionary[Subject, str | None] = WeakKeyDictionary()


def _unembedding(anatomy: Anatomy) -> str | None:
    """Where the module is whose rows are the logits' by a trial, on tokens drawn from the whole vocabulary."""
    rng, size = np.random.default_rng(0), anatomy.vocab_size
    tokens = mx.array(rng.integers(0, size, TRIAL).astype(np.int32))
    chosen = np.unique(rng.integers(0, size, CHOSEN)).astype(np.int32)
    with untapped():
        logits = forward(anatomy.model, tokens)[..., mx.array(chosen)]
        for path, module in anatomy.model.named_modules():
            has_rows = type(module) in WITH_ROWS and len(module["weight"]) == size
            if has_rows and _agrees(ChosenTokens(chosen, anatomy, module), tokens, logits):
                return path
    return None


def _agrees(chosen: ChosenTokens, tokens: mx.array, logits: mx.array) -> bool:
    """Whether chosen tokens alone have the logits (B, L, U) that the whole model gives them."""
    try:
        with chosen.alone():
            alone = forward(chosen.anatomy.model, tokens)
    except ValueError:  # of shapes that do not fit
        return False
    return alone.shape == logits.shape and relative_difference(alone, logits) <= TOLERANCE
