"""Does the model hold `a*b` and `b*a` in the same state, more than it holds any two like prompts in like states?

Raw cosines between prompts of one form are high in any model, above .99 in a trained one. So states are centred on the
other prompts of their operation, and compared without outlier dimensions. And what counts is the difference to pairs
that do not commute, share an operand, share the answer or share nothing, and to the same pairs in untrained and
lesioned models.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.hooks.activations import collect
from lazarus_probe.hooks.sites import Site, resid_post
from lazarus_probe.introspection.geometry.states import needs_references, outlier_data, outlier_lines
from lazarus_probe.introspection.geometry.swaps import CONTROLS, Swap, drawn_pairs, value_of
from lazarus_probe.statistics.centred import OutlierDimension, state_cosines
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
        raw: (layers, N) the cosines of the states as they are.
        left_out: by layer the dimensions that were left out, of the states of each operation.
        centre: what states were centred on, in words; empty for raw cosines.
        measurements: by layer, the mean and its controls.
        outputs: (N, 2) the completions of both orders.
        same_answer: the rate at which it gives one answer to both, with the rate for random pairs; None where no
            operation commutes.
    """

    model_id: str
    swaps: tuple[Swap, ...]
    layers: tuple[int, ...]
    similarities: NDArray[np.float64]
    raw: NDArray[np.float64]
    left_out: Mapping[int, tuple[OutlierDimension, ...]]
    centre: str
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
            "centred_on": self.centre or None,
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
            "raw_mean_similarity": float(self.raw[row].mean()),
            "outlier_dimensions": outlier_data(self.left_out[self.layers[row]]),
        }

    def notes(self) -> list[str]:
        """What was done to the states before they were compared."""
        return outlier_lines(self.left_out, self.centre)

    def _repr_html_(self) -> str:
        names = ("Swapped", *(control.name for control in self.measurements[0].controls))
        rows = [
            (f"L{layer}", measured.score, *(control.score for control in measured.controls))
            for layer, measured in zip(self.layers, self.measurements, strict=True)
        ]
        columns = [Column("Layer"), *(Column(name, ".4f") for name in names)]
        return Table(columns, rows, f"{UNIT}, n = {len(self.swaps)}").html()


def commutativity(
    subject: Subject,
    swaps: Sequence[Swap],
    layers: Sequence[int],
    seed: int = 0,
    models: int = COUNT,
    *,
    keep_outliers: bool = False,
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
        keep_outliers: compare raw states: not centred, with all dimensions.
    """
    drawn, sites = drawn_pairs(swaps, seed), [resid_post(layer) for layer in layers]
    of_subject = _cosines(subject, drawn, sites, keep_outliers)
    cosines = of_subject.compared
    # Without the others, unless some operation has too few pairs to be centred on.
    few = any(needs_references(2 * count) for count in Counter(swap.symbol for swap in swaps).values())
    of_interest = drawn if few else {"swapped": drawn["swapped"]}
    of_controls = {
        kind: [
            _cosines(built(model), of_interest, sites, keep_outliers).compared["swapped"]
            for model in controls
        ]
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
        raw=of_subject.raw["swapped"],
        left_out={layer: of_subject.left_out[site] for layer, site in zip(layers, sites, strict=True)},
        centre="" if keep_outliers else "the other pairs of the same operation",
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


@dataclass(frozen=True, eq=False)
class _Cosines:
    """By kind of pair, cosines (layers, N) as they are compared and raw; and by site the dimensions left out."""

    compared: Mapping[str, NDArray[np.float64]]
    raw: Mapping[str, NDArray[np.float64]]
    left_out: Mapping[Site, tuple[OutlierDimension, ...]]


def _cosines(
    subject: Subject, drawn: dict[str, list[tuple[str, str]]], sites: Sequence[Site], keep_outliers: bool
) -> _Cosines:
    """The cosines at the last token, from one pass over all the prompts.

    A prompt is centred on the swapped pairs of its operation: about the mean of all operations, two differences would
    be alike for being differences. So no cosine depends on which other pairs were drawn for comparison.
    """
    prompts = list(dict.fromkeys(prompt for pairs in drawn.values() for pair in pairs for prompt in pair))
    states, symbols = collect(subject, prompts, sites), np.array([_symbol(prompt) for prompt in prompts])
    row = {prompt: index for index, prompt in enumerate(prompts)}
    swapped = {
        prompt for name in ("swapped", "non_commutative") for pair in drawn.get(name, ()) for prompt in pair
    }
    tables, raw, left_out = [], [], {}
    for site in sites:
        table, raw_table = np.full((2, len(prompts), len(prompts)), np.nan)
        outliers: dict[int, OutlierDimension] = {}
        for symbol in np.unique(symbols):
            (rows,) = np.nonzero(symbols == symbol)
            among = np.array([prompts[index] in swapped for index in rows])
            if needs_references(int(among.sum())):
                among[:] = True
            cosines = state_cosines(states[site][rows], among=among, keep_outliers=keep_outliers)
            table[np.ix_(rows, rows)], raw_table[np.ix_(rows, rows)] = cosines.matrix, cosines.raw
            outliers |= {outlier.dimension: outlier for outlier in cosines.left_out}
        tables.append(table)
        raw.append(raw_table)
        left_out[site] = tuple(outliers.values())

    def of_pairs(by_site: Sequence[NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
        return {
            name: np.stack(
                [table[[row[a] for a, _ in pairs], [row[b] for _, b in pairs]] for table in by_site]
            )
            for name, pairs in drawn.items()
        }

    return _Cosines(of_pairs(tables), of_pairs(raw), left_out)


def _symbol(prompt: str) -> str:
    return next(char for char in prompt if char in "+-*/")
