"""How often a patch transfers the source's answer, by layer, over many pairs; and the first layer where it does.

The layer is chosen on one half of the pairs and confirmed on the other, which had no part in choosing it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.declared import declared
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.generation.damage import Unrelated, damage_of_patch, unrelated_prompts
from lazarus_probe.introspection.patching.activation_patching import Positions, patch_answered
from lazarus_probe.introspection.patching.answered_pairs import AnsweredPair, other_sources
from lazarus_probe.introspection.patching.answers import says, shown
from lazarus_probe.introspection.patching.encoded_pairs import EncodedPrompt
from lazarus_probe.introspection.patching.layers import (
    OWN_ANSWERS,
    UNIT,
    WHOLE_SOURCE,
    At,
    other_positions,
)
from lazarus_probe.statistics.folds import halves
from lazarus_probe.statistics.intervals import estimate
from lazarus_probe.statistics.measurement import Damage, Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.sweep.result import mean_defined
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

CLAIM = "patch-carries-the-answer"


@dataclass(frozen=True, eq=False)
class PatchRates:
    """Activation patching of many pairs.

    Attributes:
        model_id: the model.
        pairs: the N pairs that count: their answers differ, and the model itself gives both.
        left_out: the others, which were not patched.
        position: "last", "all", or a number.
        blend: share of the source's state in the patched state.
        layers: that were patched.
        rates: by layer, the rate of full transfer and its controls.
        effects: (layers, N) each an `answers.Effect`.
        outputs: (layers, N) the patched model's completions.
        numbers: by metric (layers,), the mean over pairs.
        chosen: the layer chosen on one half of the pairs; None if none transfers often there.
        confirmed: the rate at that layer on the other half, with the damage of the same patch: the other half's
            sources patched into unrelated prompts, at the same position and with the same blend. No damage where all
            positions are patched, or unrelated prompts are too short for the position; see `damage_not_measured`.
        other_positions: of the control, negative from the end.
    """

    model_id: str
    pairs: tuple[AnsweredPair, ...]
    left_out: tuple[AnsweredPair, ...]
    position: At
    blend: float
    layers: tuple[int, ...]
    rates: tuple[Measurement, ...]
    effects: NDArray[Any]
    outputs: NDArray[Any]
    numbers: dict[str, NDArray[Any]]
    chosen: int | None
    confirmed: Measurement | None
    other_positions: tuple[int, ...]

    @property
    def caveat(self) -> str:
        """Why full transfers here would not be evidence; empty if they would be."""
        if not all(pair.answers_given for pair in self.pairs):
            return OWN_ANSWERS
        return WHOLE_SOURCE if self.position == "all" and self.blend == 1 else ""

    @property
    def damage_not_measured(self) -> str:
        """Why the confirmed layer's damage was not measured; empty if it was, or without such a layer."""
        if self.confirmed is None or self.confirmed.damage is not None:
            return ""
        if self.position == "all":
            return "all positions are patched, and unrelated prompts have other lengths"
        return f"unrelated prompts are too short for position {self.position}"

    def as_data(self) -> dict[str, Any]:
        """Plain data; `critical_layer` is added by the caller, which judges `confirmed`."""
        return {
            "model_id": self.model_id,
            "position": self.position if isinstance(self.position, str) else str(self.position),
            "blend": self.blend,
            "n": len(self.pairs),
            "groups": len({pair.group for pair in self.pairs}),
            "layers": [self._layer(row) for row in range(len(self.layers))],
            "chosen_layer": self.chosen,
            "doubt": self.caveat,
            "confirmed": None if self.confirmed is None else self.confirmed.as_dict(),
            "damage_not_measured": self.damage_not_measured,
            "pairs": [self._pair(i) for i in range(len(self.pairs))],
            "left_out": [
                {
                    "source_prompt": pair.pair.source,
                    "source_output": pair.source_completion,
                    "target_prompt": pair.pair.target,
                    "target_output": pair.target_completion,
                }
                for pair in self.left_out
            ],
            "controls": {"random_position": self.other_positions},
        }

    def _layer(self, row: int) -> dict[str, Any]:
        measured = self.rates[row].as_dict()
        means = {name: values[row] for name, values in self.numbers.items()}
        return {
            "layer": self.layers[row],
            **{key: measured[key] for key in ("score", "low", "high", "controls")},
            "effects": dict(Counter(self.effects[row].tolist())),
            **means,
        }

    def _pair(self, i: int) -> dict[str, Any]:
        answered, pair = self.pairs[i], self.pairs[i].pair
        return {
            "source_prompt": pair.source,
            "source_expected": shown(pair.source_answer),
            "target_prompt": pair.target,
            "target_expected": shown(pair.target_answer),
            "group": answered.group,
            "results": [
                {
                    "layer": layer,
                    "original_output": answered.target_completion,
                    "patched_output": str(self.outputs[row, i]),
                    "effect": str(self.effects[row, i]),
                    "source_answer_found": says(str(self.outputs[row, i]), pair.source_answer),
                }
                for row, layer in enumerate(self.layers)
            ],
        }

    @property
    def table(self) -> Table:
        """By layer the rate of full transfer, those of its controls and of the other effects, and the mean KL."""
        columns = (
            Column("Layer", width=6),
            Column("Full transfer", width=20),
            *(Column(control.name.replace("_", " "), ".2f", 16) for control in self.rates[0].controls),
            *(
                Column(name, ".2f", width)
                for name, width in (("Partial", 8), ("Corrupt", 8), ("No effect", 10))
            ),
            Column("KL", ".3f"),
        )
        rows = [
            (
                f"L{layer}",
                Cell(estimate(rate.score, rate.low, rate.high), shade=rate.score),
                *(Cell(control.score, str(control)) for control in rate.controls),
                *((effects == name).mean() for name in ("partial_transfer", "corruption", "no_effect")),
                kl,
            )
            for layer, rate, effects, kl in zip(
                self.layers, self.rates, self.effects, self.numbers["kl"], strict=True
            )
        ]
        return Table(columns, rows, f"{UNIT}, n = {len(self.pairs)}")

    def _repr_html_(self) -> str:
        return self.table.html()


def patch_rates(
    subject: Subject,
    pairs: Sequence[AnsweredPair],
    layers: Sequence[int],
    position: At = "last",
    *,
    blend: float = 1.0,
    max_tokens: int = 8,
    seed: int = 0,
    progress: bool = False,
    unrelated: Unrelated | None = None,
) -> PatchRates:
    """Patch many pairs, with two controls on the same pairs.

    Controls: `random_donor`, whether another pair's source gives this source's answer; `random_position`, whether
    the source's state at another position does (not with "all").

    Args:
        subject: the model.
        pairs: those whose two answers the model does not give by itself are left out.
        layers: patched, after the block.
        position: "last", "all", or a position of all prompts.
        blend: share of the source's state in the patched state.
        max_tokens: generated at most.
        seed: of donors, positions, halves and intervals.
        progress: show a bar, where standard error is a terminal.
        unrelated: prompts to measure the damage on; by default those of all language tasks.

    Raises:
        ValueError: fewer than two groups of pairs to count; as `patch_answered`; as `damage_of_patch`.
        IndexError: as `patch_answered`.
    """
    counted = [pair for pair in pairs if pair.can_transfer]
    groups = np.array([pair.group for pair in counted])
    if len(set(groups)) < 2:
        raise ValueError(
            f"the model itself gives both answers, and different ones, in {len(counted)} of {len(pairs)} pairs, "
            f"of {len(set(groups))} groups; rates need such pairs of at least 2 groups"
        )
    sources = [pair.source for pair in counted]
    donors = {"source": sources, "random_donor": other_sources(counted, seed, position == "all")}
    settings: dict[str, Any] = {"blend": blend, "max_tokens": max_tokens, "progress": progress}
    positions: Positions = "all" if position == "all" else [-1 if position == "last" else position]
    others = [] if positions == "all" else other_positions(counted, positions[0], seed)
    effects = patch_answered(subject, counted, layers, positions, donors, **settings)
    moved = {name: patched.effects[:, 0] == "full_transfer" for name, patched in effects.items()}
    if others:
        elsewhere = patch_answered(subject, counted, layers, others, {"source": sources}, **settings)[
            "source"
        ]
        drawn = np.random.default_rng(seed).integers(len(others), size=len(counted))
        moved["random_position"] = elsewhere.effects[:, drawn, np.arange(len(counted))] == "full_transfer"
    # The state after the last block at the last position is the next token itself, so it localises nothing.
    trivial = subject.num_layers - 1 if position in ("last", "all", -1) else None
    chosen, second_half = _chosen(moved["source"], layers, groups, trivial, seed)
    confirmed = None
    if chosen is not None:
        damage = None
        if positions != "all":
            damage = _damage(
                subject,
                [sources[i] for i in second_half],
                chosen,
                positions[0],
                blend,
                unrelated_prompts() if unrelated is None else unrelated,
                seed,
            )
        confirmed = replace(
            _rate(moved, list(layers).index(chosen), second_half, groups, seed), damage=damage
        )
    patched = effects["source"]
    return PatchRates(
        model_id=subject.name,
        pairs=tuple(counted),
        left_out=tuple(pair for pair in pairs if not pair.can_transfer),
        position=position,
        blend=blend,
        layers=tuple(layers),
        rates=tuple(_rate(moved, row, np.arange(len(counted)), groups, seed) for row in range(len(layers))),
        effects=patched.effects[:, 0],
        outputs=patched.completions[:, 0],
        numbers={name: mean_defined(values[:, 0], axis=1) for name, values in patched.metrics.items()},
        chosen=chosen,
        confirmed=confirmed,
        other_positions=tuple(others),
    )


def _chosen(
    moved: NDArray[np.bool_], layers: Sequence[int], groups: NDArray[Any], trivial: int | None, seed: int
) -> tuple[int | None, NDArray[Any]]:
    """The first layer at which the claimed share of one half transfers, and the rows of the other half."""
    threshold = declared(CLAIM).threshold
    try:
        first, second = halves(np.arange(len(groups), dtype=float), groups, seed=seed, kind="regression")
    except ValueError:
        return None, np.arange(0)
    shares = moved[:, first].mean(axis=1)
    for layer, share in zip(layers, shares, strict=True):
        if share >= threshold and layer != trivial and len(np.unique(groups[second])) > 1:
            return layer, second
    return None, second


def _rate(
    moved: dict[str, NDArray[np.bool_]], row: int, rows: NDArray[Any], groups: NDArray[Any], seed: int
) -> Measurement:
    values = {name: flags[row][rows] for name, flags in moved.items()}
    source = values.pop("source")
    return rate(UNIT, source, groups[rows], values, seed=seed)


def _damage(
    subject: Subject,
    sources: Sequence[EncodedPrompt],
    layer: int,
    position: int,
    blend: float,
    unrelated: Unrelated,
    seed: int,
) -> Damage | None:
    """The damage of the sources' states in unrelated prompts; None where too few of these have the position."""
    reached = unrelated.with_position(subject, position)
    if len(set(reached.units)) < 2:
        return None
    ids = [source.ids for source in sources]
    return damage_of_patch(subject, ids, resid_post(layer), position, reached, seed, blend=blend)
