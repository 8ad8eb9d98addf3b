"""What an extraction of directions gives: a direction a layer, what it is worth, and the verdict on it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.claims.verdict import Outcome, Verdict
from lazarus_probe.introspection.directions.class_direction import Method
from lazarus_probe.introspection.display import table
from lazarus_probe.statistics.measurement import Control, Measurement

CLAIM = "direction-separates-labels"


@dataclass(frozen=True, eq=False)
class Extracted:
    """A direction at one layer, of all prompts, and what such directions are worth on groups not met.

    Attributes:
        name: as in `tool_vs_no_tool`.
        layer: from 0.
        method: how it was made.
        vector: (D,) in the units of the activations; of length 1 unless it is a difference of means.
        accuracy: held out, with the threshold half way between the training means.
        low: lower end of its 95% interval over groups.
        high: upper end.
        separation: held out, of the two labels along the direction (Cohen's d); None where they have no spread.
        balanced: the held-out accuracy, each label counting one half.
        majority: accuracy of the commoner label.
        controls: a `constant` answer and a `bag_of_words`, with the gain of the balanced accuracy over them; its
            interval is corrected for the layers looked at.
        null_accuracy: mean balanced accuracy with shuffled labels.
        p: how often shuffled labels reach the balanced accuracy at the best of the layers looked at.
        n_positive: prompts of the positive label.
        n_negative: prompts of the negative label.
        groups: templates.
        verdict: on the claim `direction-separates-labels`, among the layers looked at.
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
        """What the claim is judged by; a constant answer is always half right, so its gain gives the interval."""
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
        """Whether it separates groups not met better than shuffled labels, a constant, and the prompts' words."""
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
        """The one that does best on groups not met; chosen among all, so p is corrected for their number."""
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

    def _repr_html_(self) -> str:
        rows = [
            [
                layer,
                f"{direction.balanced:.2f}",
                "-" if direction.separation is None else f"{direction.separation:.2f}",
                f"{direction.null_accuracy:.2f}",
                f"{direction.p:.3f}",
            ]
            for layer, direction in self.directions.items()
        ]
        return table(self.name, ["layer", "held out, balanced", "separation", "shuffled", "p"], rows)
