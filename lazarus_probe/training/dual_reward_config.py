"""The settings of a dual-reward training."""

from __future__ import annotations

from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING

from lazarus_probe.subject.relative_depth import layer_at

if TYPE_CHECKING:
    from lazarus_probe.training.loop import Optimisation

DEPTH = 0.55
# As mlx-lm's. With 2, the class word is learned slowly, and what disturbs the answers longer.
LORA_SCALE = 20.0


@dataclass(frozen=True)
class DualReward:
    """How to train.

    Attributes:
        steps: updates in all.
        classifier_layer: where the class word is read; None is 55% of the depth, negative ones count from the last.
        cls_weight: share of the classification in the loss.
        learning_rate: of AdamW, reached after the warm-up and brought to zero by a cosine.
        batch_size: examples a step.
        seed: of the order of the examples.
        warmup: share of the steps in which the learning rate rises.
    """

    steps: int = 500
    classifier_layer: int | None = None
    cls_weight: float = 0.4
    learning_rate: float = 5e-4
    batch_size: int = 16
    seed: int = 0
    warmup: float = 0.1

    def layer(self, num_layers: int) -> int:
        """The classifier layer of a model with so many layers.

        Raises:
            IndexError: there is no such layer.
            ValueError: it is the last one, whose lens is the model's answer and cannot name the class as well.
        """
        layer = classifier_layer(num_layers) if self.classifier_layer is None else self.classifier_layer
        if not -num_layers <= layer < num_layers:
            raise IndexError(
                f"classifier layer {layer} is out of range: the model has layers 0 to {num_layers - 1}"
            )
        if layer % num_layers == num_layers - 1:
            raise ValueError(
                f"classifier layer {layer} is the last: what it names is the answer; give one of 0 to {num_layers - 2}"
            )
        return layer % num_layers

    @property
    def optimisation(self) -> Optimisation:
        """The schedule of the learning rate.

        Raises:
            ValueError: a learning rate that is not above 0.
        """
        from lazarus_probe.training.loop import Optimisation  # imports mlx

        if not (isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"learning_rate is {self.learning_rate}; give a number above 0")
        return Optimisation(self.learning_rate, self.steps, warmup=round(self.warmup * self.steps))


def classifier_layer(num_layers: int) -> int:
    """The layer at 55% of the depth, as published: 22 layers -> 12, 16 -> 8, 40 -> 22."""
    return layer_at(DEPTH, num_layers)
