"""The result of an extraction: a direction per layer, how well it separates held-out groups, and its verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.introspection.directions.class_direction import Method
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.statistics.measurement import Control, Measurement
from lazarus_probe.tables import Column, Table

CLAIM = "direction-separates-labels"


@dataclass(frozen=True, eq=False)
class Extracted:
    """A direction at one layer, of all prompts, and how well such directions separate held-out groups.

    Attributes:
        name: as in `tool_vs_no_tool`.
        layer: from 0.
        method: how it was made.
        vector: (D,) in the units of the activations; of length 1 unless it is a difference of means.
        accuracy: held out, with the threshold halfway between the training means.
        low: lower end of its 95% interval over groups.
        high: upper end.
        separation: held out, of the two labels along the direction (Cohen's d); None where they have no spread.
        balanced: the held-out accuracy, each label counting one half.
        majority: accuracy of the majority label.
        controls: a `constant` answer and a `bag_of_words`, with the gain of the balanced accuracy over each; the
            intervals are corrected for the number of layers.
        null_accuracy: mean balanced accuracy with shuffled labels.
        p: of the balanced accuracy against shuffled labels, corrected for the layers by the max statistic.
        n_positive: prompts of the positive label.
        n_negative: prompts of the negative label.
        groups: templates.
        verdict: on the claim `direction-separates-labels`, corrected for the layers.
    """

    name: str
    layer: int
    method: Method
    vector: NDArray[np.float32]
    accuracy: float
    low: float
    high: float
    separation: float | None
    balanced: float
    majority: float
    controls: tuple[Control, ...]
    null_accuracy: float
    p: float
    n_positive: int
    n_negative: int
    groups: int
    verdict: Verdict | None = None

    @property
    def norm(self) -> float:
        """The vector's length."""
        return float(np.linalg.norm(self.vector))

    @property
    def measurement(self) -> Measurement:
        """For the claim; a constant answer always scores one half, so the gain over it gives the interval."""
        constant = next(control for control in self.controls if control.name == "constant")
        return Measurement(
            self.balanced,
            min(self.balanced, constant.score + constant.low),
            max(self.balanced, constant.score + constant.high),
            n=self.n_positive + self.n_negative,
            groups=self.groups,
            unit="held-out balanced accuracy",
            controls=self.controls,
            p=self.p,
            details={"layer": self.layer, "method": self.method},
        )

    @property
    def beyond_controls(self) -> bool:
        """Whether it separates held-out groups better than shuffled labels, a constant, and the prompts' words."""
        return self.verdict is not None and self.verdict.outcome is Outcome.SUPPORTED

    def as_data(self) -> dict[str, Any]:
        """Plain data, without the vector."""
        return {
            "name": self.name,
            "layer": self.layer,
            "method": self.method,
            "norm": self.norm,
            "separation_score": self.separation,
            "accuracy": self.accuracy,
            "low": self.low,
            "high": self.high,
            "balanced_accuracy": self.balanced,
            "majority": self.majority,
            "controls": {
                control.name: {
                    "accuracy": control.score,
                    "gain": control.gain,
                    "low": control.low,
                    "high": control.high,
                }
                for control in self.controls
            },
            "null_accuracy": self.null_accuracy,
            "p": self.p,
            "beyond_controls": self.beyond_controls,
            "claim": CLAIM,
            "verdict": None if self.verdict is None else str(self.verdict),
            "n_positive": self.n_positive,
            "n_negative": self.n_negative,
            "groups": self.groups,
        }


@dataclass(frozen=True, eq=False)
class Extraction:
    """The directions of two labels at some layers.

    Attributes:
        name: as in `tool_vs_no_tool`.
        model_id: the model.
        positive: what the direction points to.
        negative: what it points away from.
        directions: by layer.
    """

    name: str
    model_id: str
    positive: str
    negative: str
    directions: Mapping[int, Extracted]

    @property
    def best(self) -> Extracted:
        """The direction with the highest balanced accuracy on held-out groups."""
        return max(self.directions.values(), key=lambda direction: direction.balanced)

    def as_data(self) -> dict[str, Any]:
        """Plain data, without the vectors."""
        return {
            "name": self.name,
            "model_id": self.model_id,
            "positive_label": self.positive,
            "negative_label": self.negative,
            "best_layer": self.best.layer,
            "directions": {str(layer): direction.as_data() for layer, direction in self.directions.items()},
        }

    @property
    def table(self) -> Table:
        """A row for each layer."""
        columns = [
            Column("layer", width=6),
            Column("norm", ".3f", 8),
            Column("separation", ".2f", 11),
            Column("held out", ".2f", 9),
            Column("interval", width=14),
            Column("majority", ".2f", 9),
            Column("balanced", ".2f", 9),
            Column("bag_of_words", ".2f", 13),
            Column("shuffled", ".2f", 9),
            Column("p", ".3f"),
        ]
        rows = [
            (
                f"L{layer}",
                direction.norm,
                direction.separation,
                direction.accuracy,
                str(Interval(direction.low, direction.high)),
                direction.majority,
                direction.balanced,
                direction.controls[-1].score,
                direction.null_accuracy,
                direction.p,
            )
            for layer, direction in self.directions.items()
        ]
        return Table(columns, rows, self.name)

    def _repr_html_(self) -> str:
        return self.table.html()
