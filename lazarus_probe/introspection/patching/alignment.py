"""What a search of aligned subspaces comes to: interchanges that do what was said, layer by layer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.judging import JudgedLayers, judge_layers
from lazarus_probe.statistics.cell_effects import CellEffects, mark
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Damage, Measurement
from lazarus_probe.statistics.model_spread import best_layer_reach, over_best_layer
from lazarus_probe.statistics.rates import rate
from lazarus_probe.tables import Column, Table

CLAIM = "subspace-carries-the-variable"


@dataclass(frozen=True, eq=False)
class AlignedSubspace:
    """A subspace found at each of K layers, and whether interchanges in it do what was said, on H held-out pairs.

    Attributes:
        layers: (K,) after which states are interchanged.
        bases: (K, D, k) orthonormal columns.
        held_out: (K, H) whether the wanted answer is the likeliest of all answers, with the state interchanged there.
        relabelled: (K, H) the same of the search on a relabelled causal model, by its own answers.
        random: (K, H) with a random subspace as large.
        whole: (K, H) with the whole state.
        plain: (H,) without an interchange.
        trained: (K,) share of the pairs that were trained on.
        untrained: (T, K) held-out share of the same search in T untrained models.
        options: answers among which one is the likeliest.
        units: (H,) the independent unit of each held-out pair.
        damage: of interchanges in the best layer's subspace on unrelated prompts, at their last token.
        position: of the states.
        seed: of halves, first bases and relabelling.
    """

    layers: tuple[int, ...]
    bases: NDArray[np.float64]
    held_out: NDArray[np.float64]
    relabelled: NDArray[np.float64]
    random: NDArray[np.float64]
    whole: NDArray[np.float64]
    plain: NDArray[np.float64]
    trained: NDArray[np.float64]
    untrained: NDArray[np.float64]
    options: int
    units: tuple[str, ...]
    damage: Damage | None
    position: int
    seed: int

    @cached_property
    def effects(self) -> CellEffects:
        """The accuracy of each layer on held-out pairs, and its gain over the relabelled causal model."""
        return CellEffects(self.held_out, self.relabelled, self.units, self.seed)

    @property
    def best(self) -> int:
        """The layer with the largest accuracy on held-out pairs, the first of several."""
        return self.layers[self.effects.best]

    @property
    def untrained_reach(self) -> float | None:
        """The accuracy that the best layer of one more untrained model may have; None without untrained models."""
        return best_layer_reach(self.untrained)

    @property
    def why_unjudged(self) -> str | None:
        """Why it cannot be told where a subspace is aligned; None where it can."""
        return None if len(self.untrained) else "there are no untrained models to compare with"

    @cached_property
    def judged(self) -> JudgedLayers | None:
        """The verdicts on the claim `subspace-carries-the-variable` by layer, together; None if `why_unjudged`."""
        if self.why_unjudged:
            return None
        return judge_layers(CLAIM, {layer: self._measured(row) for row, layer in enumerate(self.layers)})

    @property
    def aligned(self) -> tuple[int, ...]:
        """Layers whose subspace is shown to carry the variable; none where it cannot be told."""
        return self.judged.supported if self.judged else ()

    def _measured(self, row: int) -> Measurement:
        """The accuracy of a layer's interchanges on held-out pairs, and what it gains over the controls."""
        controls = {"relabelled": self.relabelled[row], "random_subspace": self.random[row]}
        measured = rate("interchange accuracy", self.held_out[row], self.units, controls, seed=self.seed)
        untrained = over_best_layer(measured.score, Interval(measured.low, measured.high), self.untrained)
        damage = self.damage if self.layers[row] == self.best else None
        return replace(measured, controls=(*measured.controls, untrained), damage=damage)

    def as_data(self) -> dict[str, Any]:
        """Everything but the bases, as plain data."""
        names = ("held_out", "relabelled", "random", "whole")
        return {
            "size": self.bases.shape[-1],
            "position": self.position,
            "options": self.options,
            "held_out_pairs": len(self.units),
            "units": len(set(self.units)),
            "seed": self.seed,
            "plain": float(self.plain.mean()),
            "untrained_reach": self.untrained_reach,
            "aligned": list(self.aligned),
            "verdicts": self.judged.as_data() if self.judged else {},
            "best": self.best,
            "damage": None if self.damage is None else asdict(self.damage),
            "layers": [
                {
                    "layer": layer,
                    "trained": float(self.trained[row]),
                    **{name: float(getattr(self, name)[row].mean()) for name in names},
                    "untrained": self.untrained[:, row].tolist(),
                    "gain": [float(end[row]) for end in self.effects.gain],
                    "p": float(self.effects.p[row]),
                }
                for row, layer in enumerate(self.layers)
            ],
        }

    def table(self) -> Table:
        """By layer the share of held-out pairs with the wanted answer, beside its controls."""
        columns = [Column("Layer", width=6), Column("trained", width=8), Column("held out", width=10)]
        columns += [Column("relabelled", width=11), Column("random", width=8), Column("whole", width=8)]
        columns += [Column("untrained", width=10)] if len(self.untrained) else []
        rows = []
        for row, layer in enumerate(self.layers):
            star = mark(self.effects.p[row])
            shares = [f"{self.trained[row]:.3f}", f"{self.held_out[row].mean():.3f}{star}"]
            shares += [f"{values[row].mean():.3f}" for values in (self.relabelled, self.random, self.whole)]
            shares += [f"{self.untrained[:, row].mean():.3f}"] if len(self.untrained) else []
            rows.append((f"L{layer}", *shares))
        return Table(columns, rows, "interchange accuracy")

    def _repr_html_(self) -> str:
        return self.table().html()
