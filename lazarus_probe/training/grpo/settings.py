"""How to train on rewards."""

from __future__ import annotations

from dataclasses import dataclass

ARITHMETIC = "arithmetic"  # the reward of the bundled prompts


@dataclass(frozen=True)
class Grpo:
    """How to train on rewards.

    Attributes:
        steps: how often answers are sampled.
        updates: of the weights on the answers of one step.
        batch_size: prompts a step.
        group_size: answers a prompt.
        max_tokens: of an answer at most.
        temperature: answers are sampled at it, and it is the policy at this temperature that is trained.
        clip: how far from 1 the ratio of new to old probability still counts.
        kl: weight of the divergence from the weights before training, in nats.
        standardise: divide advantages by the standard deviation of their group.
        learning_rate: of AdamW, falling as a cosine to `final_learning_rate` after `warmup` steps.
        warmup: steps until the learning rate is reached.
        final_learning_rate: that of the last step.
        weight_decay: of AdamW.
        clip_norm: of the gradient at most.
        chat: ask each prompt through the model's chat template.
        seed: of the order of the prompts and of what is sampled.

    Raises:
        ValueError: a setting that cannot be.

    Example:
        >>> from lazarus_probe.training import Grpo
        >>> config = Grpo(steps=100, group_size=4, max_tokens=6, kl=0.05)
        >>> config.batch_size * config.group_size  # completions sampled in each step
        64
    """

    steps: int = 200
    updates: int = 2
    batch_size: int = 16
    group_size: int = 8
    max_tokens: int = 32
    temperature: float = 1.0
    clip: float = 0.2
    kl: float = 0.02
    standardise: bool = False
    learning_rate: float = 1e-5
    warmup: int = 0
    final_learning_rate: float = 0.0
    weight_decay: float = 0.0
    clip_norm: float | None = 1.0
    chat: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        least = {"steps": 1, "updates": 1, "batch_size": 1, "group_size": 2, "max_tokens": 1}
        for name, bound in least.items():
            if getattr(self, name) < bound:
                raise ValueError(f"{name} is {getattr(self, name)}; at least {bound} is needed")
        for name in ("temperature", "clip", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ValueError(f"{name} is {getattr(self, name)}; more than 0 is needed")
        if not 0 <= self.kl < float("inf"):
            raise ValueError(f"kl is {self.kl}; 0 or more is needed")
