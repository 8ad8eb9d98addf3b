"""How often a patch carries the source's answer over, by layer, over many pairs; and where it first does.

The layer is chosen on one half of the pairs and confirmed on the other, which had no part in choosing it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.declared import declared
from lazarus_probe.hooks.sites import resid_post
from lazarus_probe.introspection.display import Cell, table
from lazarus_probe.introspection.generation.damage import Unrelated, damage_of_patch, unrelated_prompts
from lazarus_probe.introspection.patching.layers import OWN_ANSWERS, UNIT, WHOLE_SOURCE, other_positions
from lazarus_probe.introspection.patching.patch_pairs import Asked, foreign_pairs
from lazarus_probe.introspection.patching.runs import NUMBERS, At, Patched, patched
from lazarus_probe.introspection.patching.transfer import classify, says, shown
from lazarus_probe.statistics import halves
from lazarus_probe.statistics.measurement import Damage, Measurement
from lazarus_probe.statistics.rates import rate

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

CLAIM = "patch-carries-the-answer"


@dataclass(frozen=True, eq=False)
class PatchRates:
    """Activation patching of many pairs.

    Attributes:
        model_id: the model.
        asked: N pairs whose two answers differ and are the model's own, which are those that count.
        left_out: pairs that were not patched, for the model does not give both answers, or they are one.
        position: "last", "all", or a number.
        blend: share of the source's state in the patched state.
        layers: that were patched.
        rates: by layer, the rate of full transfer and its controls.
        effects: (layers, N) of `EFFECTS`.
        outputs: (layers, N) the patched model's completions.
        numbers: by metric (layers,), the mean over pairs.
        chosen: the layer chosen on one half of the pairs; None if none transfers often there.
        confirmed: the rate at that layer on the other half, with the damage of the same patch: the other half's
            sources put into unrelated prompts, at the same position and with the same blend. No damage where all
            positions are patched, or unrelated prompts are too short for the position; see `damage_not_measured`.
        other_positions: of the control, negative from the end.
    """

    model_id: str
    asked: tuple[Asked, ...]
    left_out: tuple[Asked, ...]
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
    def doubt(self) -> str:
        """Why full transfers here would show nothing; empty if they would."""
        if not all(each.given for each in self.asked):
            return OWN_ANSWERS
        return WHOLE_SOURCE if self.position == "all" and self.blend == 1 else ""

    @property
    def damage_not_measured(self) -> str:
        """Why the confirmed layer's damage was not measured; empty if it was, or if there is no such layer."""
        if self.confirmed is None or self.confirmed.damage is not None:
            return ""
        if self.position == "all":
            return "all positions are patched, and unrelated prompts have other lengths"
        return f"unrelated prompts are too short for position {self.position}"

    def as_data(self) -> dict[str, Any]:
        """Plain data; `critical_layer` is for whoever judges `confirmed` to add."""
        return {
            "model_id": self.model_id,
            "position": self.position if isinstance(self.position, str) else str(self.position),
            "blend": self.blend,
            "n": len(self.asked),
            "groups": len({each.group for each in self.asked}),
            "layers": [self._layer(row) for row in range(len(self.layers))],
            "chosen_layer": self.chosen,
            "doubt": self.doubt,
            "confirmed": None if self.confirmed is None else self.confirmed.as_dict(),
            "damage_not_measured": self.damage_not_measured,
            "pairs": [self._pair(i) for i in range(len(self.asked))],
            "left_out": [
                {
                    "source_prompt": each.pair.source,
                    "source_output": each.source_said,
                    "target_prompt": each.pair.target,
                    "target_output": each.target_said,
                }
                for each in self.left_out
            ],
            "controls": {"random_position": self.other_positions},
        }

    def _layer(self, row: int) -> dict[str, Any]:
        found = self.rates[row].as_dict()
        kept = {key: found[key] for key in ("score", "low", "high", "controls")}
        means = {name: values[row] for name, values in self.numbers.items()}
        return {
            "layer": self.layers[row],
            **kept,
            "effects": dict(Counter(self.effects[row].tolist())),
            **means,
        }

    def _pair(self, i: int) -> dict[str, Any]:
        asked = self.asked[i]
        return {
            "source_prompt": asked.pair.source,
            "source_expected": shown(asked.pair.source_answer),
            "target_prompt": asked.pair.target,
            "target_expected": shown(asked.pair.target_answer),
            "group": asked.group,
            "results": [
                {
                    "layer": layer,
                    "original_output": asked.target_said,
                    "patched_output": str(self.outputs[row, i]),
                    "effect": str(self.effects[row, i]),
                    "source_answer_found": says(str(self.outputs[row, i]), asked.pair.source_answer),
                }
                for row, layer in enumerate(self.layers)
            ],
        }

    def _repr_html_(self) -> str:
        rows = [
            (f"L{layer}", Cell(f"{found.score:.2f}", str(found), found.score), *map(str, found.controls))
            for layer, found in zip(self.layers, self.rates, strict=True)
        ]
        names = [control.name for control in self.rates[0].controls]
        return table(f"{UNIT}, n = {len(self.asked)}", ("Layer", "Full transfer", *names), rows)


def patch_rates(
    subject: Subject,
    asked: Sequence[Asked],
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

    Controls: `random_donor`, whether another pair's source brings this source's answer; `random_position`, whether
    the source's state at another position does (not with "all").

    Args:
        subject: the model.
        asked: pairs; those of which the model does not itself give both answers are left out.
        layers: patched, after the block.
        position: "last", "all", or a position of all prompts.
        blend: share of the source's state in the patched state.
        max_tokens: generated at most.
        seed: of donors, positions, halves and intervals.
        progress: show a bar, where standard error is a terminal.
        unrelated: prompts to tell the damage on; by default those of all language tasks.

    Raises:
        ValueError: fewer than two groups of pairs to count; as `patched`; as `damage_of_patch`.
        IndexError: as `patched`.
    """
    kept = [each for each in asked if each.known]
    groups = len({each.group for each in kept})
    if groups < 2:
        raise ValueError(
            f"the model itself gives both answers, and different ones, in {len(kept)} of {len(asked)} pairs, "
            f"of {groups} groups; rates need such pairs of at least 2 groups"
        )
    sources = {
        "source": [each.pair.source for each in kept],
        "random_donor": foreign_pairs(subject, kept, seed, position == "all"),
    }
    settings: dict[str, Any] = {"blend": blend, "max_tokens": max_tokens, "progress": progress}
    others: list[int] = []
    places: Sequence[int] | Literal["all"] = "all"
    if position != "all":
        places = [-1 if position == "last" else position]
        others = other_positions(subject, [each.pair for each in kept], places[0], seed)
    found = patched(subject, kept, layers, places, sources, **settings)
    elsewhere = (
        patched(subject, kept, layers, others, {"source": sources["source"]}, **settings) if others else None
    )
    return _result(subject, kept, [each for each in asked if not each.known], layers, position, blend, found,
                   elsewhere, others, seed, unrelated_prompts() if unrelated is None else unrelated)  # fmt: skip


def _result(
    subject: Subject,
    kept: Sequence[Asked],
    left_out: Sequence[Asked],
    layers: Sequence[int],
    position: At,
    blend: float,
    found: Patched,
    elsewhere: Patched | None,
    others: Sequence[int],
    seed: int,
    unrelated: Unrelated,
) -> PatchRates:
    effects = _effects(found.values["answer"][:, :, 0], kept)
    moved = {
        "source": effects[0] == "full_transfer",
        "random_donor": effects[1] == "full_transfer",
    }
    if elsewhere is not None:
        drawn = np.random.default_rng(seed).integers(len(others), size=len(kept))
        at = np.take_along_axis(elsewhere.values["answer"][0], drawn[None, None, :], axis=1)[:, 0]
        moved["random_position"] = _effects(at[None], kept)[0] == "full_transfer"
    groups = np.array([each.group for each in kept])
    # The state after the last block at the last position is the next token by itself: no layer to be found there.
    trivial = subject.num_layers - 1 if position in ("last", "all", -1) else None
    chosen, rest = _chosen(moved["source"], layers, groups, trivial, seed)
    row, confirmed = None, None
    if chosen is not None:
        row = list(layers).index(chosen)
        sources = [kept[i].pair.source for i in rest]
        confirmed = replace(
            _rate(moved, row, rest, groups, seed),
            damage=_damage(subject, sources, chosen, position, blend, unrelated, seed),
        )
    return PatchRates(
        model_id=subject.name,
        asked=tuple(kept),
        left_out=tuple(left_out),
        position=position,
        blend=blend,
        layers=tuple(layers),
        rates=tuple(_rate(moved, row, np.arange(len(kept)), groups, seed) for row in range(len(layers))),
        effects=effects[0],
        outputs=found.values["answer"][0, :, 0],
        numbers={name: _means(found.values[name][0, :, 0]) for name in NUMBERS},
        chosen=chosen,
        confirmed=confirmed,
        other_positions=tuple(others),
    )


def _effects(texts: NDArray[Any], asked: Sequence[Asked]) -> NDArray[Any]:
    """(sources, layers, N) of effects, of texts of that shape."""
    effects = np.empty(texts.shape, dtype="<U16")
    for place in np.ndindex(texts.shape):
        each = asked[place[-1]]
        effects[place] = classify(each.target_said, str(texts[place]), each.pair)
    return effects


def _chosen(
    moved: NDArray[np.bool_], layers: Sequence[int], groups: NDArray[Any], trivial: int | None, seed: int
) -> tuple[int | None, NDArray[Any]]:
    """The first layer at which as many of one half transfer as is claimed, and the rows of the other half."""
    often = declared(CLAIM).threshold
    try:
        first, second = halves(np.arange(len(groups), dtype=float), groups, seed=seed, kind="regression")
    except ValueError:
        return None, np.arange(0)
    shares = moved[:, first].mean(axis=1)
    for layer, share in zip(layers, shares, strict=True):
        if share >= often and layer != trivial and len(np.unique(groups[second])) > 1:
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
    sources: Sequence[str],
    layer: int,
    position: At,
    blend: float,
    unrelated: Unrelated,
    seed: int,
) -> Damage | None:
    """What the sources' states do to unrelated prompts; None where all positions are patched, or prompts lack it."""
    if position == "all":
        return None
    place = -1 if position == "last" else position
    reached = unrelated.with_position(subject, place)
    if len(set(reached.units)) < 2:
        return None
    return damage_of_patch(subject, sources, resid_post(layer), place, reached, seed, blend=blend)


def _means(values: NDArray[Any]) -> NDArray[Any]:
    """(layers,) of (layers, N), over the pairs that have the number; NaN where none has."""
    known = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        return np.asarray(np.where(known, values, 0).sum(axis=1) / known.sum(axis=1))
