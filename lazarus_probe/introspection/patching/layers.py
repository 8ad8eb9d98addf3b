"""Activation patching of one pair of prompts at several layers, with unrelated donors and other positions as controls.

Heimersheim & Nanda 2024 (arXiv:2404.15255), Zhang & Nanda 2024 (arXiv:2309.16042): completions, and next to them logit
difference, probability and KL. One pair shows that a transfer can happen, not how often: see `patch_rates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.patching.activation_patching import PatchEffects, Positions, patch_answered
from lazarus_probe.introspection.patching.answered_pairs import AnsweredPair, unrelated_donors
from lazarus_probe.introspection.patching.answers import Effect, one_line, says, shown
from lazarus_probe.introspection.patching.encoded_pairs import EncodedPair
from lazarus_probe.introspection.patching.prompt_pairs import quoted
from lazarus_probe.statistics.intervals import exact
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.tables import Cell, Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


At = Literal["last", "all"] | int
OWN_ANSWERS = (
    "the answers are what the model says, which nothing confirms: give the expected ones in the file"
)
UNIT = "rate of full transfer"
EFFECT_NAMES: dict[Effect, str] = {
    "no_effect": "No effect",
    "partial_transfer": "Partial transfer",
    "full_transfer": "FULL TRANSFER",
    "corruption": "Corruption",
}
WHOLE_SOURCE = "with all positions replaced the model runs the source, at any layer; give --position last"


@dataclass(frozen=True)
class LayerPatch:
    """The effect of patching one layer.

    Attributes:
        layer: counted from 0.
        original_output: of the target, unpatched.
        patched_output: of the target with the source's state.
        effect: see `classify`.
        source_answer_found: whether the patched output gives the source's answer.
        fades: whether there is no effect, above a layer with full transfer.
        logit_diff: logit of the source's answer minus that of the target's; None where first tokens are equal.
        logit_diff_before: the same, unpatched.
        probability: of the source's answer.
        probability_before: the same, unpatched.
        kl: KL(unpatched || patched) of the next token, in nats.
        random_donor: how many unrelated donors gave the source's answer, how many changed the target's, and n.
        random_position: how many other positions gave the source's answer, and n.
    """

    layer: int
    original_output: str
    patched_output: str
    effect: Effect
    source_answer_found: bool
    fades: bool
    logit_diff: float | None
    logit_diff_before: float | None
    probability: float | None
    probability_before: float | None
    kl: float
    random_donor: Mapping[str, int]
    random_position: Mapping[str, int]

    @property
    def controlled(self) -> bool:
        """Whether the source's answer was transferred, and by none of at least one unrelated donor."""
        return self.source_answer_found and self.random_donor["n"] > 0 and not self.random_donor["found"]


@dataclass(frozen=True)
class PatchResult:
    """Activation patching of one pair.

    Attributes:
        model_id: the model.
        pair: the pair with its answers.
        position: "last", "all", or a number.
        blend: share of the source's state in the patched state.
        results: one per layer, in order.
        donors: the unrelated donors.
        other_positions: patched for comparison, negative from the end.
        num_layers: of the model.
    """

    model_id: str
    pair: AnsweredPair
    position: At
    blend: float
    results: tuple[LayerPatch, ...]
    donors: tuple[str, ...]
    other_positions: tuple[int, ...]
    num_layers: int

    @property
    def full_transfer_layer(self) -> int | None:
        """The first layer with full transfer."""
        return next((result.layer for result in self.results if result.effect == "full_transfer"), None)

    @property
    def critical_layer(self) -> int | None:
        """The first layer with full transfer, if it is interpretable: see `caveat`."""
        return None if self.caveat else self.full_transfer_layer

    def measurement(self) -> Measurement | None:
        """The transfer at the critical layer, compared with unrelated donors; None without such a layer."""
        layer = self.critical_layer
        if layer is None:
            return None
        donors = self._at(layer).random_donor
        own, foreign = exact(1, 1), exact(donors["found"], donors["n"])
        share = donors["found"] / donors["n"]
        gain = Control("random_donor", share, 1 - share, own.low - foreign.high, own.high - foreign.low)
        return Measurement(1.0, own.low, own.high, 1, 1, UNIT, (gain,), details={"layer": layer})

    @property
    def caveat(self) -> str:
        """Why a full transfer here would not be evidence; empty if it would be."""
        pair, first = self.pair.pair, self.full_transfer_layer
        if pair.source_answer == pair.target_answer:
            return f"source and target have one answer, {shown(pair.source_answer)}: no transfer can be seen"
        if self.pair.uncertain:
            return self.pair.uncertain
        for prompt, completion, answer in (
            (pair.source, self.pair.source_completion, pair.source_answer),
            (pair.target, self.pair.target_completion, pair.target_answer),
        ):
            if not says(completion, answer):
                return f"the model answers {quoted(prompt)} with {quoted(completion.strip())}, not {shown(answer)}"
        if first is None:
            return ""
        if self.position == "all" and self.blend == 1:
            return WHOLE_SOURCE
        if not self._at(first).controlled:
            return (
                f"at layer {first} unrelated sources bring {shown(pair.source_answer)} too, or none was tried"
            )
        if first == self.num_layers - 1 and self.position in ("last", "all", -1):
            return f"layer {first} is the last: its state at the last position is the source's next token by itself"
        return ""

    def _at(self, layer: int) -> LayerPatch:
        return next(result for result in self.results if result.layer == layer)

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys, and more."""
        pair, effects = self.pair.pair, [result for result in self.results if result.effect != "no_effect"]
        return {
            "model_id": self.model_id,
            "source_prompt": pair.source,
            "source_expected": shown(pair.source_answer),
            "target_prompt": pair.target,
            "target_expected": shown(pair.target_answer),
            "position": self.position if isinstance(self.position, str) else str(self.position),
            "results": [asdict(result) for result in self.results],
            "critical_layer": self.critical_layer,
            "summary": {
                "first_effect_layer": effects[0].layer if effects else None,
                "full_transfer_layer": self.full_transfer_layer,
                "effect_fade_layer": next((result.layer for result in self.results if result.fades), None),
            },
            "n": 1,
            "blend": self.blend,
            "source_output": self.pair.source_completion,
            "answers_given": self.pair.answers_given,
            "certainty": {"source": self.pair.source_certainty, "target": self.pair.target_certainty},
            "doubt": self.caveat,
            "controls": {"random_donor": self.donors, "random_position": self.other_positions},
        }

    @property
    def table(self) -> Table:
        """The unpatched output, and below it the effect of each layer."""
        columns = (
            Column("Layer", width=8),
            Column("Target Output", width=16),
            Column("Effect", width=18),
            Column("Logit diff", "+.2f", width=11),
            Column("P(source)", ".4f", width=10),
            Column("KL", ".3f", width=8),
            Column("Unrelated", width=13),
            Column("Elsewhere"),
        )
        first, caveat = self.results[0], self.caveat
        before = first.logit_diff_before, first.probability_before
        rows: list[Sequence[object]] = [
            ("before", one_line(first.original_output, 16), "", *before, "", "", "")
        ]
        for result in self.results:
            name = EFFECT_NAMES[result.effect]
            # In capitals only where it is evidence.
            name = "Effect fades" if result.fades else name.capitalize() if caveat else name
            donor, position = result.random_donor, result.random_position
            rows.append(
                (
                    f"L{result.layer}",
                    one_line(result.patched_output, 16),
                    Cell(name, shade=float(result.effect == "full_transfer")),
                    result.logit_diff,
                    result.probability,
                    max(result.kl, 0.0),
                    f"{donor['found']}/{donor['n']}",
                    f"{position['found']}/{position['n']}",
                )
            )
        return Table(columns, rows, f"{self.pair.pair.source} → {self.pair.pair.target}")

    def _repr_html_(self) -> str:
        return self.table.html()


def patch_prompts(
    subject: Subject,
    pair: AnsweredPair,
    layers: Sequence[int],
    position: At = "last",
    *,
    blend: float = 1.0,
    max_tokens: int = 8,
    donors: int = 8,
    seed: int = 0,
    progress: bool = False,
) -> PatchResult:
    """Patch one pair at some layers, with two controls.

    Controls: `random_donor`, the same patch from unrelated donors, which must not give this source's answer; and
    `random_position`, the same layer at other positions after which the prompts differ (not with "all").

    Args:
        subject: the model.
        pair: the pair with its answers.
        layers: patched, after the block.
        position: "last", "all", or a position of both prompts.
        blend: share of the source's state in the patched state.
        max_tokens: generated at most.
        donors: how many unrelated donors.
        seed: of the unrelated donors and of the other positions.
        progress: show a bar, where standard error is a terminal.

    Raises:
        ValueError: as `patch_answered`.
        IndexError: as `patch_answered`.
    """
    positions: Positions = "all" if position == "all" else [-1 if position == "last" else position]
    others = [] if positions == "all" else other_positions([pair], positions[0], seed)
    unrelated = unrelated_donors(subject, pair, donors, max_tokens, seed)
    if positions == "all":
        unrelated = [donor for donor in unrelated if len(donor.ids) == len(pair.target.ids)]
    settings: dict[str, Any] = {"blend": blend, "max_tokens": max_tokens, "progress": progress}
    sources = [pair.source, *unrelated]
    patched = patch_answered(subject, [pair] * len(sources), layers, positions, {"": sources}, **settings)[""]
    elsewhere = np.empty((len(layers), 0))
    if others:
        effects = patch_answered(subject, [pair], layers, others, {"": [pair.source]}, **settings)[""].effects
        elsewhere = effects[..., 0]
    results = [_layer(pair, patched, elsewhere[row], row) for row in range(len(layers))]
    return PatchResult(
        model_id=subject.name,
        pair=pair,
        position=position,
        blend=blend,
        results=_faded(results),
        donors=tuple(donor.text for donor in unrelated),
        other_positions=tuple(others),
        num_layers=subject.num_layers,
    )


def other_positions(pairs: Sequence[EncodedPair], position: int, seed: int, count: int = 3) -> list[int]:
    """Some other positions, from the end, at which patching can have an effect on every pair."""
    reach = []
    for pair in pairs:
        source, target = pair.source.ids, pair.target.ids
        shortest = min(len(source), len(target))
        start = next((i for i in range(shortest) if source[i] != target[i]), shortest)
        own = position if position < 0 else position - len(target)
        reach.append({other for other in range(max(start - len(target), -shortest), 0) if other != own})
    shared = sorted(set.intersection(*reach))
    drawn: list[int] = np.random.default_rng(seed).permutation(shared)[:count].tolist() if shared else []
    return sorted(drawn)


def _layer(pair: AnsweredPair, patched: PatchEffects, elsewhere: NDArray[Any], row: int) -> LayerPatch:
    completion = str(patched.completions[row, 0, 0])
    effects, at_others = patched.effects[row, 0].tolist(), elsewhere.tolist()
    after, before = (
        {name: None if np.isnan(values[0]) else float(values[0]) for name, values in metrics.items()}
        for metrics in (
            {name: values[row, 0] for name, values in patched.metrics.items()},
            patched.unpatched_metrics,
        )
    )
    return LayerPatch(
        layer=patched.layers[row],
        original_output=str(patched.unpatched[0]),
        patched_output=completion,
        effect=effects[0],
        source_answer_found=says(completion, pair.pair.source_answer),
        fades=False,
        logit_diff=after["logit_diff"],
        logit_diff_before=before["logit_diff"],
        probability=after["probability"],
        probability_before=before["probability"],
        kl=after["kl"] or 0.0,
        random_donor={
            "found": effects[1:].count("full_transfer"),
            "changed": len(effects[1:]) - effects[1:].count("no_effect"),
            "n": len(effects) - 1,
        },
        random_position={"found": at_others.count("full_transfer"), "n": len(at_others)},
    )


def _faded(results: Sequence[LayerPatch]) -> tuple[LayerPatch, ...]:
    """Mark the layers without effect above one with full transfer."""
    transferred, marked = False, []
    for result in results:
        marked.append(replace(result, fades=transferred and result.effect == "no_effect"))
        transferred = transferred or result.effect == "full_transfer"
    return tuple(marked)
