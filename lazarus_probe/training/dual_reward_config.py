"""The settings of a dual-reward training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from lazarus_probe.subject.relative_depth import layer_at, layer_number
from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.training.settings import Names, UserPath

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
        chosen = classifier_layer(num_layers) if self.classifier_layer is None else self.classifier_layer
        layer = layer_number(chosen, num_layers, "classifier layer")
        if layer == num_layers - 1:
            raise ValueError(
                f"classifier layer {chosen} is the last: what it names is the answer; give one of 0 to {num_layers - 2}"
            )
        return layer

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


def _class_words(value: Any) -> Any:
    """The class word of every operation: its name, or another that is given as `operation:word` or in a mapping."""
    value = [value] if isinstance(value, str) else value
    if isinstance(value, list | tuple):
        pairs = [str(pair).partition(":") for pair in value]
    elif isinstance(value, Mapping):
        pairs = [(str(operation), ":", str(word)) for operation, word in value.items()]
    else:
        return value
    words = {name: name for name in OPERATIONS}
    for operation, colon, word in pairs:
        if operation not in words or not word.strip():
            raise ValueError(
                f"{operation + colon + word!r}: give one of {', '.join(words)}, a colon and a word"
            )
        words[operation] = word
    return words


class DualRewardConfig(BaseModel):
    """Everything that decides a dual-reward training on arithmetic.

    The options of `lazarus introspect dual-reward` are made from these fields and their descriptions. Settings of the
    algorithm have the defaults of `DualReward`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(
        min_length=1, description="Bundled model name, smollm2, folder, GGUF file, Ollama name or Hub id."
    )
    steps: int = Field(DualReward.steps, ge=1, description="Training steps.")
    classifier_layer: int | None = Field(DualReward.classifier_layer, description="Layer of the class loss.")
    cls_weight: float = Field(
        DualReward.cls_weight,
        ge=0,
        le=1,
        description="Weight of the class loss; the answer loss has the rest.",
    )
    learning_rate: float = Field(
        DualReward.learning_rate, gt=0, allow_inf_nan=False, description="Peak learning rate of AdamW."
    )
    num_samples: int = Field(800, description="Number of training questions.")
    batch_size: int = Field(DualReward.batch_size, ge=1, description="Questions per step.")
    lora_rank: int = Field(16, ge=1, description="LoRA rank.")
    lora_scale: float = Field(LORA_SCALE, description="LoRA scale, a factor on the update.")
    lora_targets: Names = Field(("v_proj", "o_proj"), description="Projections to apply LoRA to.")
    # A model says which it has.
    layers: str | None = Field(None, description="Layers to train, as in 0-3,7, or all.")
    class_word: Annotated[dict[str, str], BeforeValidator(_class_words)] = Field(
        {name: name for name in OPERATIONS},
        description="Class word for an operation, instead of its name; repeatable. All are spelled alike: as they are "
        "written, with a space before them, or capitalised, whichever first makes each one token.",
    )
    held_out: int = Field(100, description="Held-out questions per operation, for evaluation.")
    seed: int = Field(
        DualReward.seed, description="Random seed of questions, LoRA initialisation and batches."
    )
    output: UserPath | None = Field(None, description="Folder to save the adapter in.")

    @property
    def algorithm(self) -> DualReward:
        """How to train."""
        return DualReward(
            self.steps,
            self.classifier_layer,
            self.cls_weight,
            self.learning_rate,
            self.batch_size,
            self.seed,
        )

    @property
    def lora(self) -> dict[str, Any]:
        """The arguments of `lora.attached`, but for the layers."""
        return {
            "targets": list(self.lora_targets),
            "rank": self.lora_rank,
            "scale": self.lora_scale,
            "seed": self.seed,
        }
