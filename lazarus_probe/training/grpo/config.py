"""The settings of a training on rewards: YAML, with the command line over it and defaults below."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lazarus_probe.spelling import one_of
from lazarus_probe.tasks.arithmetic import OPERATIONS
from lazarus_probe.training.grpo.rewards import ARITHMETIC
from lazarus_probe.training.grpo.settings import Grpo
from lazarus_probe.training.sft.config import Layers, Names, UserPath

# What a folder keeps of them.
SETTINGS = "grpo.yaml"
# Settings that `Grpo` has by the same name.
ALGORITHM = (
    "updates", "batch_size", "group_size", "max_tokens", "temperature", "clip", "kl", "standardise",
    "learning_rate", "warmup", "final_learning_rate", "weight_decay", "clip_norm", "chat", "seed",
)  # fmt: skip


class GrpoConfig(BaseModel):
    """Everything that decides a training on rewards, in the words of the YAML files.

    Attributes:
        model: a bundled name, a folder or a Hub id.
        prompts: JSON lines with a `prompt` each; by default those of the reward's file, or of the bundled arithmetic.
        reward: `arithmetic`, or a Python file with `reward_fn(prompt, response)`.
        operations: of the bundled arithmetic prompts.
        output: the folder for what is trained, the log and the state.
        use_lora: train LoRA matrices, and not the weights themselves.
        lora_rank: of each update.
        lora_scale: what the update is multiplied by.
        lora_targets: names of projections.
        freeze_layers: layers that are not trained, as in `0-12`.
        max_steps: how often answers are sampled.
        evaluate: held-out questions of a kind that are answered before and after; 0 for none. Bundled arithmetic only.
        log_interval: steps a row of the table.
        log_format: of the log of every step.
        checkpoint_interval: steps between two states that the same command goes on from.

    The other settings are those of `Grpo`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    prompts: UserPath | None = None
    reward: str = Field(ARITHMETIC, min_length=1)
    operations: Names = tuple(OPERATIONS)
    output: UserPath = Path("checkpoints/grpo")
    use_lora: bool = True
    lora_rank: int = Field(16, ge=1)
    lora_scale: float = Field(2.0, gt=0, allow_inf_nan=False)
    lora_targets: Names = ("v_proj", "o_proj")
    freeze_layers: Layers = None
    max_steps: int = Field(200, ge=1)
    updates: int = Field(2, ge=1)
    batch_size: int = Field(16, ge=1)
    group_size: int = Field(8, ge=2)
    max_tokens: int = Field(32, ge=1)
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    clip: float = Field(0.2, gt=0, allow_inf_nan=False)
    kl: float = Field(0.02, ge=0, allow_inf_nan=False)
    standardise: bool = False
    learning_rate: float = Field(1e-5, gt=0, allow_inf_nan=False)
    warmup: int = Field(0, ge=0)
    final_learning_rate: float = Field(0.0, ge=0, allow_inf_nan=False)
    weight_decay: float = Field(0.0, ge=0, allow_inf_nan=False)
    clip_norm: float | None = Field(1.0, gt=0)
    chat: bool = False
    seed: int = Field(0, ge=0)
    evaluate: int = Field(200, ge=0)
    log_interval: int = Field(10, ge=1)
    log_format: Literal["csv", "jsonl"] = "csv"
    checkpoint_interval: int = Field(50, ge=1)

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
        return Grpo(self.max_steps, **{name: getattr(self, name) for name in ALGORITHM})
