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

from lazarus_probe.hooks.sites import Site
from lazarus_probe.introspection.rates import rate
from lazarus_probe.statistics.measurement import Grid, Measurement, some_examples
from lazarus_probe.sweep import Donors, answer, sweep
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
class Effects:
    """Effects by layer, position and pair.

    Attributes:
        layers: patched, after the block.
        positions: patched, negative from the end.
        effects: (layers, positions, N) of `EFFECTS`.
        texts: (layers, positions, N) what the model said.
    """

    layers: tuple[int, ...]
    positions: tuple[int, ...]
    effects: NDArray[Any]
    texts: NDArray[Any]

    def transferred(self, layer: int, position: int) -> NDArray[Any]:
        """(N,) whether the source's answer came out."""
        return np.asarray(self.effects[self._cell(layer, position)] == "full_transfer")

    def said(self, layer: int, position: int) -> list[str]:
        """(N,) what came out."""
        return [str(text) for text in self.texts[self._cell(layer, position)]]

    def rates(self, effect: Effect = "full_transfer") -> NDArray[Any]:
        """(layers, positions) share of the pairs with an effect."""
        return np.asarray((self.effects == effect).mean(axis=-1))

    def counts(self, layer: int, position: int) -> dict[str, int]:
        """How many pairs had each effect."""
        return dict(Counter(self.effects[self._cell(layer, position)].tolist()))

    def grid(self, columns: Sequence[str]) -> Grid:
        """The rate of full transfer by layer and position, for a report; `columns` names the positions."""
        rows = tuple(f"L{layer}" for layer in self.layers)
        values = tuple(tuple(row) for row in self.rates().round(3).tolist())
        return Grid("rate of full transfer", rows, tuple(columns), values)

    def _cell(self, layer: int, position: int) -> tuple[int, int]:
        return self.layers.index(layer), self.positions.index(position)


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
    max_tokens: int = 4,
) -> Effects:
    """Patch `resid_post` at each layer and position, and let the model go on by itself.

    Args:
        subject: the model.
        pairs: N pairs.
        layers: blocks whose output is patched.
        positions: of the prompt, negative from its end.
        donors: which pair's source each pair takes its patch from; by default its own. For a control.
        max_tokens: generated at most.

    Raises:
        ValueError: no pairs, or a source and a target with different token lengths.
    """
    giving = [pairs[donor] for donor in donors] if donors is not None else pairs
    found = sweep(
        subject,
        [pair.target for pair in pairs],
        [Site("resid_post", layer) for layer in layers],
        sources={"source": Donors([pair.source for pair in giving])},
        metrics=[answer(max_tokens)],
        positions=positions,
    )
    texts = np.moveaxis(found.values["answer"][:, 0], 0, -1)
    effects = np.empty((len(layers), len(positions), len(pairs)), dtype="<U16")
    for place in np.ndindex(effects.shape):
        index = place[-1]
        effects[place] = classify(str(found.baseline["answer"][index]), str(texts[place]), pairs[index])
    return Effects(tuple(layers), tuple(positions), effects, texts)


def transfer(
    subject: Subject, pairs: Sequence[Pair], layer: int, position: int, families: Sequence[str], seed: int = 0
) -> Measurement:
    """The rate at which one patch brings the source's answer, beside a sweep over all layers and positions.

    Controls: `random_position`, the same layer at another position drawn for each pair; `other_pair`, the same patch
    from another pair's source, which must not bring this source's answer.

    Args:
        subject: the model.
        pairs: N pairs whose prompts all have equally many tokens.
        layer: patched, after the block.
        position: patched, from the start.
        families: (N,) the operand family of each pair.
        seed: of the drawn positions and donors.
    """
    rng = np.random.default_rng(seed)
    tokens = subject.encode(pairs[0].target)
    layers = range(subject.num_layers)
    places = range(1, len(tokens))  # the first token is the same in every prompt
    found = sweep_residual(subject, pairs, layers, places)
    moved = found.transferred(layer, position)
    others = rng.choice([place for place in places if place != position], size=len(pairs))
    elsewhere = np.array([found.transferred(layer, place)[i] for i, place in enumerate(others)])
    donors = np.roll(rng.permutation(len(pairs)), 1)
    foreign = sweep_residual(subject, pairs, [layer], [position], donors=donors.tolist()).transferred(
        layer, position
    )
    return rate(
        "rate of full transfer",
        moved,
        families,
        {"random_position": elsewhere, "other_pair": foreign},
        seed=seed,
        details={
            "layer": layer,
            "position": position,
            "effects": found.counts(layer, position),
        },
        tokens=2 * len(tokens) * len(pairs),
        examples=some_examples(
            [f"{pair.target} (with {pair.source})" for pair in pairs],
            [f"{pair.source_answer:g}" for pair in pairs],
            found.said(layer, position),
            moved,
        ),
        grids=(found.grid([f"{place} {subject.decode([tokens[place]])!r}" for place in places]),),
    )
