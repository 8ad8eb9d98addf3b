"""Changing a model: fine-tuning with LoRA, reinforcement learning on rewards, and tuned lenses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lazarus_probe.lazy import lazy_names

if TYPE_CHECKING:
    from lazarus_probe.training.grpo.settings import Grpo
    from lazarus_probe.training.grpo.train import train_grpo
    from lazarus_probe.training.sft.config import SftConfig
    from lazarus_probe.training.sft.train import train_sft
    from lazarus_probe.training.tuned_lens import LensTraining, train_lens

__all__ = [
    "Grpo",
    "LensTraining",
    "SftConfig",
    "train_grpo",
    "train_lens",
    "train_sft",
]

_HOMES = {
    "Grpo": "training.grpo.settings",
    "LensTraining": "training.tuned_lens",
    "SftConfig": "training.sft.config",
    "train_grpo": "training.grpo.train",
    "train_lens": "training.tuned_lens",
    "train_sft": "training.sft.train",
}

if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _HOMES)
