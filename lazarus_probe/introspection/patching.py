"""Activation patching between two prompts: what of one answer a residual carries into the other prompt.

Heimersheim & Nanda 2024 (arXiv:2404.15255); here denoising, the source's state put into the target's run. The prompts
of a pair have equally many tokens, so a position means the same in both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import patch
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import hooked, trace
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import is_answer, parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Effect = Literal["no_effect", "full_transfer", "partial_transfer", "corruption"]
EFFECTS: tuple[Effect, ...] = ("no_effect", "full_transfer", "partial_transfer", "corruption")


@dataclass(frozen=True)
class Pair:
    """A source prompt to patch from, a target to patch into, and both true answers."""

    source: str
    target: str
    source_answer: float
    target_answer: float


@dataclass(frozen=True)
class Sweep:
    """Effects by layer, position and pair.

    Attributes:
        layers: patched, after the block.
        positions: patched, negative from the end.
        effects: (layers, positions, N) of `EFFECTS`.
    """

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    effects: NDArray[Any]

    def transferred(self, layer: int, position: int) -> NDArray[Any]:
        """(N,) whether the source's answer came out."""
        row = self.effects[self.layers.index(layer), self.positions.index(position)]
        return np.asarray(row == "full_transfer")

    def rates(self, effect: Effect = "full_transfer") -> NDArray[Any]:
        """(layers, positions) share of the pairs with an effect."""
        return np.asarray((self.effects == effect).mean(axis=-1))

    def counts(self, layer: int, position: int) -> dict[str, int]:
        """How many pairs had each effect."""
        row = self.effects[self.layers.index(layer), self.positions.index(position)]
        return dict(Counter(row.tolist()))


def classify(before: str, after: str, pair: Pair) -> Effect:
    """What patching did to the target's output; numbers are parsed, so `2,209` is 2209.

    `full_transfer`: the source's answer. `no_effect`: the same number as before. `partial_transfer`: another number.
    `corruption`: no number any more.
    """
    if is_answer(after, pair.source_answer):
        return "full_transfer"
    if after == before or (parse_number(after) is not None and parse_number(after) == parse_number(before)):
        return "no_effect"
    return "corruption" if parse_number(after) is None else "partial_transfer"


def sweep_residual(
    subject: Subject,
    pairs: Sequence[Pair],
    layers: Sequence[int],
    positions: Sequence[int],
    *,
    donors: Sequence[int] | None = None,
    max_tokens: int = 5,
) -> Sweep:
    """Patch `resid_post` at each layer and position, and let the model go on by itself.

    Args:
        subject: the model.
        pairs: N pairs.
        layers: blocks whose output is patched.
        positions: of the prompt, negative from its end.
        donors: which pair's source each pair takes its patch from; by default its own. For a control.
        max_tokens: generated at most.

    Raises:
        ValueError: no pairs, or prompts of a pair with different token lengths.
    """
    sources = encode_all(subject, [pair.source for pair in pairs])
    targets = encode_all(subject, [pair.target for pair in pairs])
    _check_lengths(pairs, sources, targets)
    if donors is not None:
        sources = [sources[donor] for donor in donors]
    effects = np.empty((len(layers), len(positions), len(pairs)), dtype="<U16")
    for indices, _ in by_length(targets):
        chosen = [pairs[i] for i in indices]
        outputs = _batch(subject, [sources[i] for i in indices], [targets[i] for i in indices], layers, positions, max_tokens)
        before = greedy(subject, [targets[i] for i in indices], max_tokens)
        for place, texts in outputs.items():
            effects[(*place, indices)] = [classify(*row) for row in zip(before, texts, chosen, strict=True)]
    return Sweep(tuple(layers), tuple(positions), effects)


def _batch(
    subject: Subject,
    sources: list[list[int]],
    targets: list[list[int]],
    layers: Sequence[int],
    positions: Sequence[int],
    max_tokens: int,
) -> dict[tuple[int, int], list[str]]:
    sites = [Site("resid_post", layer) for layer in layers]
    found = trace(subject, sources, capture=sites)
    outputs = {}
    for row, site in enumerate(sites):
        for column, position in enumerate(positions):
            at = position % len(targets[0])  # fixed: from the end, it would move as tokens are generated
            edit = patch(site, found[site][:, at : at + 1], at)
            with hooked(subject, interventions=edit):
                outputs[row, column] = greedy(subject, targets, max_tokens)
    return outputs


def _check_lengths(pairs: Sequence[Pair], sources: list[list[int]], targets: list[list[int]]) -> None:
    for pair, source, target in zip(pairs, sources, targets, strict=True):
        if len(source) != len(target):
            raise ValueError(
                f"{pair.source!r} has {len(source)} tokens and {pair.target!r} has {len(target)}: "
                "patch between prompts of equal length"
            )
