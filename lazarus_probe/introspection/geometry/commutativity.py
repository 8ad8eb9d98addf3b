"""Does the model hold `a*b` and `b*a` in the same state, more than it holds any two like prompts in like states?

Cosines between prompts of one form are high in any model: what counts is the difference to pairs that do not commute,
share an operand, share the answer or share nothing, and to the same pairs in untrained and lesioned models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.geometry.swaps import CONTROLS, Swap, drawn_pairs, value_of
from lazarus_probe.statistics.cosines import paired_cosines
from lazarus_probe.statistics.measurement import Measurement
from lazarus_probe.statistics.rates import rate
from lazarus_probe.subject.control_models import COUNT, built, control_models, faced
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tables import Column, Table
from lazarus_probe.tasks.arithmetic import is_answer, parse_number

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

COMMUTATIVE = ("+", "*")
UNIT = "cosine of a pair with its operands swapped"
KEYS = ("layer", "num_pairs", "mean_similarity", "std_similarity", "min_similarity", "max_similarity")


@dataclass(frozen=True, eq=False)
class Commutativity:
    """Cosines of pairs with their operands swapped, layer by layer.

    Attributes:
        model_id: the model.
        swaps: N pairs.
        layers: where states were read, after the block, at the last token.
        similarities: (layers, N).
        measurements: by layer, the mean and its controls.
        outputs: (N, 2) the completions of both orders.
        same_answer: the rate at which it gives one answer to both, with the rate for random pairs; None where no
            operation commutes.
    """

    model_id: str
    swaps: tuple[Swap, ...]
    layers: tuple[int, ...]
    similarities: NDArray[np.float64]
    measurements: tuple[Measurement, ...]
    outputs: tuple[tuple[str, str], ...]
    same_answer: Measurement

    @property
    def commutes(self) -> bool:
        """Whether every pair has one true answer in both orders: else its similarity shows nothing of the kind."""
        return all(swap.symbol in COMMUTATIVE for swap in self.swaps)

    def right(self) -> float:
        """The share of prompts that the model answers."""
        hits = [
            is_answer(text, value_of(swap.symbol, *operands))
            for swap, completions in zip(self.swaps, self.outputs, strict=True)
            for text, operands in zip(completions, ((swap.a, swap.b), (swap.b, swap.a)), strict=True)
        ]
        return float(np.mean(hits))

    def as_data(self) -> dict[str, Any]:
        """Plain data of the first layer under the published keys, and of all layers next to it."""
        first = self._layer(0)
        return {
            "model_id": self.model_id,
            **{key: first[key] for key in KEYS},
            "pairs": [
                {
                    "prompt_a": swap.prompt_a,
                    "prompt_b": swap.prompt_b,
                    "similarity": float(value),
                    "output_a": completions[0],
                    "output_b": completions[1],
                }
                for swap, value, completions in zip(
                    self.swaps, self.similarities[0], self.outputs, strict=True
                )
            ],
            **{key: value for key, value in first.items() if key not in KEYS},
            "behaviour": {"same_answer": self.same_answer.as_dict(), "right": self.right()},
            "layers": [self._layer(row) for row in range(len(self.layers))],
        }

    def _layer(self, row: int) -> dict[str, Any]:
        values, measured = self.similarities[row], self.measurements[row]
        return {
            "layer": self.layers[row],
            "num_pairs": len(self.swaps),
            "mean_similarity": float(values.mean()),
            "std_similarity": float(values.std()),
            "min_similarity": float(values.min()),
            "max_similarity": float(values.max()),
            "interval": [measured.low, measured.high],
            "controls": measured.as_dict()["controls"],
        }

    def _repr_html_(self) -> str:
        names = ("Swapped", *(control.name for control in self.measurements[0].controls))
        rows = [
            (f"L{layer}", measured.score, *(control.score for control in measured.controls))
            for layer, measured in zip(self.layers, self.measurements, strict=True)
        ]
        columns = [Column("Layer"), *(Column(name, ".4f") for name in names)]
        return Table(columns, rows, f"{UNIT}, n = {len(self.swaps)}").html()


def commutativity(
    subject: Subject, swaps: Sequence[Swap], layers: Sequence[int], seed: int = 0, models: int = COUNT
) -> Commutativity:
    """The cosine of each pair's states at the last token, and those of pairs that share less, or do not commute.

    Controls, one prompt drawn for each pair: `same_first`, another second operand; `same_answer`, other operands with
    the same result; `random`, no operand in common; `non_commutative`, a-b with b-a; and `untrained`, `new_blocks` and
    `permuted_blocks`, the very pairs in several models of each kind. Intervals resample pairs; pairs that share an
    operand are not quite independent, so they are a little too narrow.

    Args:
        subject: the model.
        swaps: N pairs.
        layers: where states are read, after the block.
        seed: of the draws and the intervals.
        models: untrained and lesioned models of each kind, at least 3.
    """
    drawn, sites = drawn_pairs(swaps, seed), [resid_post(layer) for layer in layers]
    cosines = _cosines(subject, drawn, sites)
    of_controls = {
        kind: [_cosines(built(model), {"swapped": drawn["swapped"]}, sites)["swapped"] for model in controls]
        for kind, controls in faced(subject, control_models(subject, count=models)).items()
    }
    units = [f"{swap.symbol}{min(swap.a, swap.b)},{max(swap.a, swap.b)}" for swap in swaps]
    measured = []
    for row in range(len(layers)):
        values = cosines["swapped"][row]
        controls = {name: cosines[name][row] for name in CONTROLS}
        controls |= {
            kind: np.stack([of_model[row] for of_model in of_models])
            for kind, of_models in of_controls.items()
        }
        measured.append(
            rate(UNIT, values, units, controls, bound=2, seed=seed, details={"layer": layers[row]})
        )
    outputs = _completed(subject, drawn["swapped"])
    return Commutativity(
        model_id=subject.name,
        swaps=tuple(swaps),
        layers=tuple(layers),
        similarities=cosines["swapped"],
        measurements=tuple(measured),
        outputs=outputs,
        same_answer=rate(
            "rate of one answer to both orders",
            [float(_agree(*pair)) for pair in outputs],
            units,
            {"random": [float(_agree(*pair)) for pair in _completed(subject, drawn["random"])]},
            seed=seed,
        ),
    )


def _completed(subject: Subject, pairs: Sequence[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """(N, 2) the completions of pairs of prompts."""
    completions = greedy(subject, [prompt for pair in pairs for prompt in pair], 6)
    return tuple(zip(completions[::2], completions[1::2], strict=True))


def _agree(first: str, second: str) -> bool:
    number = parse_number(first)
    return number is not None and number == parse_number(second)


def _cosines(
    subject: Subject, drawn: dict[str, list[tuple[str, str]]], sites: Sequence[Site]
) -> dict[str, NDArray[np.float64]]:
    """By kind of pair, cosines (layers, N) at the last token, from one pass over all the prompts."""
    prompts = list(dict.fromkeys(prompt for pairs in drawn.values() for pair in pairs for prompt in pair))
    row = {prompt: index for index, prompt in enumerate(prompts)}
    states = collect(subject, prompts, sites)
    return {
        name: np.stack(
            [
                paired_cosines(
                    states[site][[row[a] for a, _ in pairs]], states[site][[row[b] for _, b in pairs]]
                )
                for site in sites
            ]
        )
        for name, pairs in drawn.items()
    }
