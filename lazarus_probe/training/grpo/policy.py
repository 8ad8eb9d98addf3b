"""The GRPO loss: PPO's clipped ratio times the advantage within a group, plus the k3 estimate of the KL divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.training.grpo.rollouts import log_probs, shares_prefix

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.grpo.settings import Grpo
    from lazarus_probe.training.losses import Loss

# Nats by which two forward passes of the same weights may differ. AdamW turns the smallest gradient into a full step if
# there is no other, as where every answer of a step is right.
ROUNDING = 1e-4


def advantages(rewards: NDArray[Any], standardise: bool) -> NDArray[np.float32]:
    """Rewards (P, G) minus the mean of their group, divided by its standard deviation if `standardise` is set.

    A group of equal rewards has advantages of zero.
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    if standardise:
        spread = rewards.std(axis=1, keepdims=True)
        centred = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-8)
    return np.asarray(centred, np.float32)


def grpo_loss(subject: Subject, config: Grpo) -> Loss:
    """The loss of a micro-batch from `episodes.play`, with its parts "kl" and "clipped", both means over tokens.

    The losses are summed over the tokens of an answer and averaged over the answers of the whole step.
    """
    shared = shares_prefix(subject.model)

    def loss(
        prompts: mx.array,
        tokens: mx.array,
        sampled: mx.array,
        old: mx.array,
        reference: mx.array,
        advantage: mx.array,
        answers: mx.array,
        total: mx.array,
    ) -> tuple[mx.array, dict[str, mx.array]]:
        new = log_probs(subject, prompts, tokens, config.temperature, shared)
        new = mx.where(
            sampled > 0, new, 0.0
        )  # otherwise padding might overflow, and 0 times infinity is not 0
        policy, divergence, clipped = token_losses(new, old, reference, advantage[:, None], config.clip)
        value = ((policy + config.kl * divergence) * sampled).sum() / answers
        parts = {"kl": (divergence * sampled).sum() / total, "clipped": (clipped * sampled).sum() / total}
        return value, parts

    return loss


def token_losses(
    new: mx.array, old: mx.array, reference: mx.array, advantage: mx.array, clip: float
) -> tuple[mx.array, mx.array, mx.array]:
    """PPO's clipped loss, the k3 estimate of the KL divergence, and whether the clip is active; each (N, T).

    Args:
        new: log-probabilities (N, T) under the weights in training.
        old: the same under the weights that sampled.
        reference: the same under the weights before training.
        advantage: (N, 1).
        clip: the ratio is clipped to 1 - `clip` and 1 + `clip`.
    """
    ratio = mx.exp(new - old)
    policy = -mx.minimum(ratio * advantage, mx.clip(ratio, 1 - clip, 1 + clip) * advantage)
    apart = reference - new
    apart = mx.where(mx.abs(apart) < ROUNDING, 0.0, apart)
    divergence = mx.exp(apart) - apart - 1
    held = mx.where(advantage > 0, ratio > 1 + clip, mx.logical_and(advantage < 0, ratio < 1 - clip))
    return policy, divergence, held
