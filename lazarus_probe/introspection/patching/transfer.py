"""Activation patching between two prompts: what of one answer a residual carries into the other prompt.

Heimersheim & Nanda 2024 (arXiv:2404.15255); here denoising, the source's state put into the target's run. The prompts
of a pair have equally many tokens, so a position means the same in both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.interventions import patch
from lazarus_probe.hooks.sites import Site
from lazarus_probe.hooks.trace import trace
from lazarus_probe.introspection.generation.completions import greedy_completions
from lazarus_probe.introspection.generation.damage import Unrelated, damage_of_patch
from lazarus_probe.statistics.measurement import Grid, Measurement, some_examples
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.batches import by_length, encode_all
from lazarus_probe.sweep import Donors, answer, sweep
from lazarus_probe.tasks.arithmetic import is_answer, parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

Effect = Literal["no_effect", "full_transfer", "partial_transfer", "corruption"]
EFFECTS: tuple[Effect, ...] = ("no_effect", "full_transfer", "partial_transfer", "corruption")
Answer = float | str


@dataclass(frozen=True)
class Pair:
    """A source prompt to patch from, a target to patch into, and both true answers: numbers, or words."""

    source: str
    target: str
    source_answer: Answer
    target_answer: Answer


@dataclass(frozen=True)
class Effects:
    """Effects by layer, position and pair.

    Attributes:
        layers: patched, after the block.
        positions: patched, negative from the end.
        effects: (layers, positions, N) of `EFFECTS`.
        texts: (layers, positions, N) the patched model's completions.
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
    """What patching did to the target's output; numbers are parsed, so `2,209` is 2209, and words are whole.

    `full_transfer`: the source's answer, which was not there before. `no_effect`: the same answer as before.
    `partial_transfer`: another number, or words that hold the source's answer further on. `corruption`: no number
    any more, or neither answer.
    """
    same = _same(before, after, pair)
    if says(after, pair.source_answer) and not (same and says(before, pair.source_answer)):
        return "full_transfer"
    if same:
        return "no_effect"
    if isinstance(pair.source_answer, str) or isinstance(pair.target_answer, str):
        asked = words_of(shown(pair.source_answer))
        return "partial_transfer" if asked and f" {' '.join(asked)} " in _spaced(after) else "corruption"
    return "corruption" if parse_number(after) is None else "partial_transfer"


def says(text: str, answer: Answer) -> bool:
    """Whether a completion begins with an answer: the whole number, or the whole words in either case."""
    if not isinstance(answer, str):
        return is_answer(text, answer)
    words = words_of(answer)
    return words_of(text)[: len(words)] == words if words else text.strip() == answer.strip()


def shown(answer: Answer) -> str:
    """An answer as it is written."""
    if isinstance(answer, str):
        return answer
    return str(int(answer)) if answer == int(answer) else str(answer)


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, without what lies between them."""
    return re.findall(r"\w+", text.casefold())


def _spaced(text: str) -> str:
    return f" {' '.join(words_of(text))} "


def _same(before: str, after: str, pair: Pair) -> bool:
    """Whether two completions give one answer, right or wrong: as many words as the target's answer has count."""
    if before == after:
        return True
    if not isinstance(pair.target_answer, str):
        number = parse_number(after)
        return number is not None and number == parse_number(before)
    count = max(1, len(words_of(pair.target_answer)))
    first, second = words_of(before)[:count], words_of(after)[:count]
    return first == second and (bool(first) or before.strip() == after.strip())


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
    subject: Subject,
    pairs: Sequence[Pair],
    layer: int,
    position: int,
    families: Sequence[str],
    *,
    parts: Mapping[str, Sequence[int]] | None = None,
    unrelated: Unrelated | None = None,
    seed: int = 0,
) -> Measurement:
    """The rate at which one patch brings the source's answer, next to a sweep over all layers and positions.

    Controls: `random_position`, the same layer at another position drawn for each pair; `other_pair`, the same patch
    from another pair's source, which must not bring this source's answer; and for each of `parts` the same layer at all
    of its positions at once, for an answer may go with what it is made of.

    Args:
        subject: the model.
        pairs: N pairs whose prompts all have equally many tokens.
        layer: patched, after the block.
        position: patched, from the start.
        families: (N,) the operand family of each pair.
        parts: by the name of a control, positions that are patched together, such as those of the operands.
        unrelated: prompts to tell the damage on; by default those of all language tasks.
        seed: of the drawn positions and donors.

    Raises:
        ValueError: a part without positions, or with the position that is claimed about.
    """
    parts = {} if parts is None else parts
    for name, part in parts.items():
        if not part or position in part:
            raise ValueError(
                f"part {name!r} is patched at {list(part)}: give other positions than {position}"
            )
    rng, site = np.random.default_rng(seed), Site("resid_post", layer)
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
    together = {name: patched_together(subject, pairs, layer, part) for name, part in parts.items()}
    return rate(
        "rate of full transfer",
        moved,
        families,
        {"random_position": elsewhere, "other_pair": foreign, **together},
        seed=seed,
        details={
            "layer": layer,
            "position": position,
            "effects": found.counts(layer, position),
        },
        tokens=2 * len(tokens) * len(pairs),
        examples=some_examples(
            [f"{pair.target} (with {pair.source})" for pair in pairs],
            [shown(pair.source_answer) for pair in pairs],
            found.said(layer, position),
            moved,
        ),
        grids=(found.grid([f"{place} {subject.decode([tokens[place]])!r}" for place in places]),),
        damage=damage_of_patch(
            subject, [pair.source for pair in pairs], site, position - len(tokens), unrelated, seed
        ),
    )


def patched_together(
    subject: Subject, pairs: Sequence[Pair], layer: int, positions: Sequence[int], max_tokens: int = 4
) -> NDArray[np.bool_]:
    """(N,) whether the source's answer comes out when `resid_post` is patched at several positions at once.

    Args:
        subject: the model.
        pairs: N pairs, each of a source and a target of equal token length.
        layer: patched, after the block.
        positions: patched together, from the start or, negative, from the end.
        max_tokens: generated at most.

    Raises:
        ValueError: no pairs, or a source and a target of different token lengths.
    """
    site = Site("resid_post", layer)
    sources, targets = (
        encode_all(subject, [getattr(pair, side) for pair in pairs]) for side in ("source", "target")
    )
    for source, target in zip(sources, targets, strict=True):
        if len(source) != len(target):
            raise ValueError(
                f"a source has {len(source)} tokens and its target {len(target)}: a position means the same in both"
            )
    before, after = greedy_completions(subject, targets, max_tokens=max_tokens), [""] * len(pairs)
    for indices, tokens in by_length(targets):
        places = sorted({place % tokens.shape[1] for place in positions})
        given = trace(subject, [sources[index] for index in indices], site, positions=places)[site]
        edit = patch(site, given, places)
        texts = greedy_completions(subject, [targets[index] for index in indices], [edit], max_tokens)
        for index, text in zip(indices, texts, strict=True):
            after[index] = text
    effects = [classify(*texts) for texts in zip(before, after, pairs, strict=True)]
    return np.array([effect == "full_transfer" for effect in effects])
