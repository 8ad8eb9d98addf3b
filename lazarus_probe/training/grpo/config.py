"""The settings of a training on rewards."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lazarus_probe.spelling import one_of
from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.training.grpo.settings import ARITHMETIC, Grpo
from lazarus_probe.training.settings import Layers, Names, UserPath

# What a folder keeps of them.
SETTINGS = "grpo.yaml"


class GrpoConfig(BaseModel):
    """Everything that decides a training on rewards, in the words of the YAML files.

    The options of `lazarus train grpo` are made from these fields and their descriptions. Settings of the algorithm
    have the defaults of `Grpo`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1, description="Bundled model name, folder or Hub id.")
    prompts: UserPath | None = Field(None, description="JSON lines, one prompt each.")
    # A Python file defines `reward_fn(prompt, response)`.
    reward: str = Field(ARITHMETIC, min_length=1, description="Reward function that scores an answer.")
    operations: Names = Field(
        tuple(OPERATIONS), description="Operations of the bundled prompts, as in add,subtract."
    )
    output: UserPath = Field(
        Path("checkpoints/grpo"), description="Folder for the result, log and training state."
    )
    max_steps: int = Field(Grpo.steps, ge=1, description="Training steps; each samples new answers.")
    updates: int = Field(Grpo.updates, ge=1, description="Weight updates per step, on the same answers.")
    batch_size: int = Field(Grpo.batch_size, ge=1, description="Prompts per step.")
    group_size: int = Field(Grpo.group_size, ge=2, description="Answers per prompt.")
    max_tokens: int = Field(Grpo.max_tokens, ge=1, description="Maximum tokens of an answer.")
    temperature: float = Field(
        Grpo.temperature, gt=0, allow_inf_nan=False, description="Sampling temperature."
    )
    learning_rate: float = Field(
        Grpo.learning_rate, gt=0, allow_inf_nan=False, description="Peak learning rate of AdamW."
    )
    final_learning_rate: float = Field(
        Grpo.final_learning_rate, ge=0, allow_inf_nan=False, description="Learning rate at the last step."
    )
    warmup: int = Field(Grpo.warmup, ge=0, description="Warm-up steps to the peak learning rate.")
    weight_decay: float = Field(
        Grpo.weight_decay, ge=0, allow_inf_nan=False, description="Weight decay of AdamW."
    )
    clip_norm: float | None = Field(Grpo.clip_norm, gt=0, description="Maximum gradient norm.")
    kl: float = Field(
        Grpo.kl,
        ge=0,
        allow_inf_nan=False,
        description="Weight of the KL divergence from the initial model.",
    )
    clip: float = Field(
        Grpo.clip,
        gt=0,
        allow_inf_nan=False,
        description="Clipping range of the probability ratio, around 1.",
    )
    standardise: bool = Field(
        Grpo.standardise, description="Divide advantages by their group's standard deviation."
    )
    use_lora: bool = Field(True, description="Train LoRA, or the weights themselves.")
    lora_rank: int = Field(16, ge=1, description="LoRA rank.")
    lora_scale: float = Field(
        2.0, gt=0, allow_inf_nan=False, description="LoRA scale, a factor on the update."
    )
    lora_targets: Names = Field(("v_proj", "o_proj"), description="Projections to apply LoRA to.")
    freeze_layers: Layers = Field(None, description="Layers not to train, as in 0-12,15.")
    chat: bool = Field(Grpo.chat, description="Use the model's chat template.")
    # Of the bundled arithmetic only.
    evaluate: int = Field(
        200, ge=0, description="Held-out questions per kind, before and after training; 0 for none."
    )
    log_interval: int = Field(10, ge=1, description="Steps per row of the table.")
    log_format: Literal["csv", "jsonl"] = Field("csv", description="Log format: csv or jsonl.")
    checkpoint_interval: int = Field(50, ge=1, description="Steps between checkpoints.")
    seed: int = Field(Grpo.seed, ge=0, description="Random seed of prompts, samples and LoRA initialisation.")

    @model_validator(mode="after")
    def _consistent(self) -> GrpoConfig:
        unknown = [name for name in self.operations if name not in OPERATIONS]
        if unknown:
            raise ValueError(f"operations has {unknown[0]!r}; {one_of(unknown[0], OPERATIONS)}")
        if self.reward != ARITHMETIC and "operations" in self.model_fields_set:
            raise ValueError(
                f"operations chooses bundled prompts, which the reward {self.reward!r} does not take"
            )
        return self

    @property
    def algorithm(self) -> Grpo:
        """How to train."""
        names = (field.name for field in fields(Grpo) if field.name != "steps")
        return Grpo(steps=self.max_steps, **{name: getattr(self, name) for name in names})
