"""The settings of a supervised fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from lazarus_probe.training.settings import Layers, Names, UserPath

OPERATIONS = ("multiply", "add", "subtract", "divide")


def _class_words(value: Any) -> Any:
    """Class words by label, from text as in `label:word,label:word`."""
    if not isinstance(value, str):
        return value
    pairs = [[part.strip() for part in pair.split(":")] for pair in value.split(",")]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError(f"{value!r} is no list of class words; write label:word,label:word")
    return dict(pairs)


class IntermediateLoss(BaseModel):
    """The classification loss of the dual reward, by the logit lens after a middle layer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="Also train a middle layer to name the class.")
    layer: int | None = Field(None, ge=0, description="Layer whose logit lens should name the class.")
    weight: float = Field(
        0.4, ge=0, le=1, description="Weight of the class loss; the answer loss has the rest."
    )
    targets: Annotated[dict[str, str], BeforeValidator(_class_words)] = Field(
        {name: name for name in OPERATIONS}, min_length=1, description="Class word of each label."
    )


class SftConfig(BaseModel):
    """Everything that decides a supervised fine-tuning, in the words of the YAML files.

    The options of `lazarus train sft` are made from these fields and their descriptions.

    Example:
        >>> from lazarus_probe.training import SftConfig
        >>> config = SftConfig(model="organism", data="facts.jsonl", epochs=1, lora_rank=4, eval_share=0.1)
        >>> config.lora_targets, config.validates
        (('v_proj', 'o_proj'), True)
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="Bundled model name, folder or Hub id.")
    data: UserPath = Field(description="JSON lines: prompt and response, or messages.")
    output: UserPath = Field(
        Path("checkpoints/sft"), description="Folder for the adapter, log and training state."
    )
    adapter: UserPath | None = Field(None, description="Adapter to continue training.")
    eval_data: UserPath | None = Field(None, description="JSON lines for the validation loss.")
    # Equal prompts stay on one side.
    eval_share: float = Field(0.0, ge=0, lt=1, description="Fraction of the prompts to validate on instead.")
    epochs: int = Field(3, ge=1, description="Training epochs.")
    max_steps: int | None = Field(None, ge=1, description="Maximum number of optimiser steps.")
    batch_size: int = Field(4, ge=1, description="Examples per forward pass.")
    accumulate: int = Field(1, ge=1, description="Gradient accumulation steps.")
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False, description="Peak learning rate of AdamW.")
    # A cosine leads to 0 after them.
    warmup: int = Field(0, ge=0, description="Warm-up steps to the peak learning rate.")
    # Longer examples are refused, never cut.
    max_length: int | None = Field(None, ge=2, description="Maximum tokens per example.")
    mask_prompt: bool = Field(True, description="Compute the loss on responses only.")
    chat: bool = Field(False, description="Use the model's chat template.")
    skip_bad: bool = Field(False, description="Skip invalid lines.")
    use_lora: bool = Field(True, description="Train LoRA, or the weights themselves.")
    lora_rank: int = Field(16, ge=1, description="LoRA rank.")
    lora_scale: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="LoRA scale, a factor on the update."
    )
    lora_dropout: float = Field(0.0, ge=0, lt=1, description="LoRA dropout.")
    lora_targets: Names = Field(("v_proj", "o_proj"), description="Projections to apply LoRA to.")
    freeze_layers: Layers = Field(None, description="Layers not to train, as in 0-12,15.")
    grad_checkpoint: bool = Field(False, description="Gradient checkpointing: less memory, more compute.")
    log_interval: int = Field(10, ge=1, description="Optimiser steps per row of the table.")
    log_format: Literal["csv", "jsonl"] = Field("csv", description="Log format: csv or jsonl.")
    eval_interval: int = Field(100, ge=1, description="Optimiser steps between validations.")
    patience: int | None = Field(
        None, ge=1, description="Stop after this many validations without a lower loss."
    )
    checkpoint_interval: int = Field(100, ge=1, description="Optimiser steps between checkpoints.")
    seed: int = Field(0, ge=0, description="Random seed of data order and LoRA.")
    intermediate_loss: IntermediateLoss | None = None

    @model_validator(mode="after")
    def _consistent(self) -> SftConfig:
        if self.eval_data is not None and self.eval_share:
            raise ValueError("eval_data and eval_share both say what to validate on; give one of them")
        if self.patience is not None and not self.validates:
            raise ValueError("patience needs a validation loss; give eval_data or eval_share")
        if self.lora_dropout and not self.use_lora:
            raise ValueError("lora_dropout has nothing to drop without use_lora; leave it out")
        return self

    @property
    def validates(self) -> bool:
        """Whether there is a validation loss."""
        return self.eval_data is not None or self.eval_share > 0

    @property
    def classifies(self) -> IntermediateLoss | None:
        """The classification loss, where it is enabled."""
        return self.intermediate_loss if self.intermediate_loss and self.intermediate_loss.enabled else None
