"""Activation patching of one pair of prompts at several layers, with unrelated donors and other positions as controls.

Heimersheim & Nanda 2024 (arXiv:2404.15255), Zhang & Nanda 2024 (arXiv:2309.16042): answers in words, and next to them
logit difference, probability and KL. One pair shows that a transfer can happen, not how often: see `patch_rates`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.patching.patch_pairs import Asked, foreign_sources
from lazarus_probe.introspection.patching.questions import named
from lazarus_probe.introspection.patching.runs import NUMBERS, At, Patched, patched
from lazarus_probe.introspection.patching.transfer import Effect, Pair, classify, says, shown
from lazarus_probe.statistics import exact
from lazarus_probe.statistics.measurement import Control, Measurement

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject


OWN_ANSWERS = "the answers are what the model says: give the expected ones of source and target"
UNIT = "rate of full transfer"
WHOLE_SOURCE = "with all positions replaced the model runs the source, at any layer; give --position last"


@dataclass(frozen=True)
class LayerPatch:
    """What patching one layer did.

    Attributes:
        layer: counted from 0.
        original_output: of the target, unpatched.
        patched_output: of the target with the source's state.
        effect: see `classify`.
        source_answer_found: whether the source's answer came out.
        fades: whether the effect is gone again, after a full transfer further down.
        logit_diff: logit of the source's answer minus that of the target's; None where first tokens are equal.
        logit_diff_before: the same, unpatched.
        probability: of the source's answer.
        probability_before: the same, unpatched.
        kl: KL(unpatched || patched) of the next token, in nats.
        random_donor: of unrelated donors, how many brought the source's answer, how many changed the target's, and n.
        random_position: of other positions, how many brought the source's answer, and n.
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
        """Whether this source brought its answer where unrelated donors were tried, and none of them did."""
        return self.source_answer_found and self.random_donor["n"] > 0 and not self.random_donor["found"]


@dataclass(frozen=True)
class PatchResult:
    """Activation patching of one pair.

    Attributes:
        model_id: the model.
        asked: the pair with its answers.
        position: "last", "all", or a number.
        blend: share of the source's state in the patched state.
        results: one for each layer, in order.
        donors: the unrelated donors.
        other_positions: the other positions that were patched, negative from the end.
        num_layers: of the model.
    """

    model_id: str
    asked: Asked
    position: At
    blend: float
    results: tuple[LayerPatch, ...]
    donors: tuple[str, ...]
    other_positions: tuple[int, ...]
    num_layers: int

    @property
    def full_transfer_layer(self) -> int | None:
        """The first layer with full transfer."""
        return next((each.layer for each in self.results if each.effect == "full_transfer"), None)

    @property
    def critical_layer(self) -> int | None:
        """The first layer with full transfer, if it is interpretable: see `doubt`."""
        return None if self.doubt else self.full_transfer_layer

    def measurement(self) -> Measurement | None:
        """What one pair says of the critical layer, against unrelated donors; None where there is no such layer."""
        layer = self.critical_layer
        if layer is None:
            return None
        donors = next(each for each in self.results if each.layer == layer).random_donor
        own, foreign = exact(1, 1), exact(donors["found"], donors["n"])
        share = donors["found"] / donors["n"]
        gain = Control("random_donor", share, 1 - share, own.low - foreign.high, own.high - foreign.low)
        return Measurement(1.0, own.low, own.high, 1, 1, UNIT, (gain,), details={"layer": layer})

    @property
    def doubt(self) -> str:
        """Why a full transfer here would show nothing; empty if it would."""
        pair, first = self.asked.pair, self.full_transfer_layer
        if pair.source_answer == pair.target_answer:
            return f"source and target have one answer, {shown(pair.source_answer)}: no transfer can be seen"
        if not self.asked.given:
            return OWN_ANSWERS
        for prompt, said, expected in (
            (pair.source, self.asked.source_said, pair.source_answer),
            (pair.target, self.asked.target_said, pair.target_answer),
        ):
            if not says(said, expected):
                return f"the model answers {named(prompt)} with {named(said.strip())}, not {shown(expected)}"
        if first is None:
            return ""
        if self.position == "all" and self.blend == 1:
            return WHOLE_SOURCE
        at = next(each for each in self.results if each.layer == first)
        if not at.controlled:
            return (
                f"at layer {first} foreign sources bring {shown(pair.source_answer)} too, or none was tried"
            )
        if first == self.num_layers - 1 and self.position in ("last", "all", -1):
            return f"layer {first} is the last: its state at the last position is the source's next token by itself"
        return ""

    def as_data(self) -> dict[str, Any]:
        """Plain data: the published keys, and ours."""
        pair, effects = self.asked.pair, [each for each in self.results if each.effect != "no_effect"]
        return {
            "model_id": self.model_id,
            "source_prompt": pair.source,
            "source_expected": shown(pair.source_answer),
            "target_prompt": pair.target,
            "target_expected": shown(pair.target_answer),
            "position": self.position if isinstance(self.position, str) else str(self.position),
            "results": [asdict(each) for each in self.results],
            "critical_layer": self.critical_layer,
            "summary": {
                "first_effect_layer": effects[0].layer if effects else None,
                "full_transfer_layer": self.full_transfer_layer,
                "effect_fade_layer": next((each.layer for each in self.results if each.fades), None),
            },
            "n": 1,
            "blend": self.blend,
            "source_output": self.asked.source_said,
            "answers_given": self.asked.given,
            "doubt": self.doubt,
            "controls": {"random_donor": self.donors, "random_position": self.other_positions},
        }

    def _repr_html_(self) -> str:
        rows = [
            (
                f"L{each.layer}",
                each.patched_output.strip(),
                Cell(each.effect.replace("_", " "), shade=float(each.effect == "full_transfer")),
                "" if each.logit_diff is None else f"{each.logit_diff:+.2f}",
                f"{each.random_donor['found']}/{each.random_donor['n']}",
            )
            for each in self.results
        ]
        heads = ("Layer", "Target Output", "Effect", "Logit diff", "Foreign")
        return table(f"{self.asked.pair.source} → {self.asked.pair.target}", heads, rows)


def patch_prompts(
    subject: Subject,
    asked: Asked,
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

    Controls: `random_donor`, the same patch from unrelated donors, which must not bring this source's answer; and
    `random_position`, the same layer at other positions from where the prompts differ on. There are none with "all".

    Args:
        subject: the model.
        asked: the pair.
        layers: patched, after the block.
        position: "last", "all", or a position of both prompts.
        blend: share of the source's state in the patched state.
        max_tokens: generated at most.
        donors: unrelated donors.
        seed: of the unrelated donors and of the other positions.
        progress: show a bar, where standard error is a terminal.

    Raises:
        ValueError: as `patched`.
        IndexError: as `patched`.
    """
    foreign = foreign_sources(subject, asked, donors, max_tokens, seed)
    others: list[int] = []
    places: Sequence[int] | Literal["all"] = "all"
    if position == "all":
        length = len(subject.encode(asked.pair.target))
        foreign = [prompt for prompt in foreign if len(subject.encode(prompt)) == length]
    else:
        places = [-1 if position == "last" else position]
        others = other_positions(subject, [asked.pair], places[0], seed)
    settings: dict[str, Any] = {"blend": blend, "max_tokens": max_tokens, "progress": progress}
    givers = [asked.pair.source, *foreign]
    found = patched(subject, [asked] * len(givers), layers, places, {"source": givers}, **settings)
    elsewhere: NDArray[Any] = np.empty((len(layers), 0))
    if others:
        away = patched(subject, [asked], layers, others, {"source": givers[:1]}, **settings)
        elsewhere = away.values["answer"][0, :, :, 0]
    results = [_layer(asked, found, elsewhere[row], row, layer) for row, layer in enumerate(layers)]
    return PatchResult(
        subject.name, asked, position, blend, _faded(results), tuple(foreign), tuple(others), subject.num_layers
    )  # fmt: skip


def other_positions(
    subject: Subject, pairs: Sequence[Pair], position: int, seed: int, count: int = 3
) -> list[int]:
    """Some positions other than the one patched, from the end, at which patching any of the pairs can do something."""
    reach = []
    for pair in pairs:
        source, target = subject.encode(pair.source), subject.encode(pair.target)
        shortest = min(len(source), len(target))
        start = next((i for i in range(shortest) if source[i] != target[i]), shortest)
        own = position if position < 0 else position - len(target)
        reach.append(
            {place for place in range(start - len(target), 0) if place != own and place >= -shortest}
        )
    there = sorted(set.intersection(*reach))
    drawn: list[int] = np.random.default_rng(seed).permutation(there)[:count].tolist() if there else []
    return sorted(drawn)


def _layer(asked: Asked, found: Patched, elsewhere: NDArray[Any], row: int, layer: int) -> LayerPatch:
    texts = [str(text) for text in found.values["answer"][0, row, 0]]
    before, pair = str(found.baseline["answer"][0]), asked.pair
    effects = [classify(before, text, pair) for text in texts]
    numbers = {name: _number(found.values[name][0, row, 0, 0]) for name in NUMBERS}
    other = [classify(before, str(text), pair) for text in elsewhere]
    return LayerPatch(
        layer=layer,
        original_output=before,
        patched_output=texts[0],
        effect=effects[0],
        source_answer_found=says(texts[0], pair.source_answer),
        fades=False,
        logit_diff=numbers["logit_diff"],
        logit_diff_before=_number(found.baseline["logit_diff"][0]),
        probability=numbers["probability"],
        probability_before=_number(found.baseline["probability"][0]),
        kl=numbers["kl"] or 0.0,
        random_donor={
            "found": effects[1:].count("full_transfer"),
            "changed": len(effects[1:]) - effects[1:].count("no_effect"),
            "n": len(effects) - 1,
        },
        random_position={"found": other.count("full_transfer"), "n": len(other)},
    )


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _faded(results: Sequence[LayerPatch]) -> tuple[LayerPatch, ...]:
    """The layers without effect after one with full transfer are marked."""
    seen, found = False, []
    for each in results:
        found.append(replace(each, fades=seen and each.effect == "no_effect"))
        seen = seen or each.effect == "full_transfer"
    return tuple(found)
