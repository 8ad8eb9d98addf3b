"""What GRPO minimises: PPO's clipped ratio times the advantage within a group, and k3's estimate of a divergence."""

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

# Nats that two forwards of the same weights may differ by. AdamW makes whole steps of the least gradient if there is
# no other, as where every answer of a step is right.
ROUNDING = 1e-4


def advantages(rewards: NDArray[Any], standardise: bool) -> NDArray[np.float32]:
    """Rewards (P, G) less the mean of their group, and divided by its standard deviation where that is wanted.

    A group of equal rewards has no advantages.
    """
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    if standardise:
        spread = rewards.std(axis=1, keepdims=True)
        centred = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-8)
    return np.asarray(centred, np.float32)


def grpo_loss(subject: Subject, config: Grpo) -> Loss:
    """The loss of a micro-batch of `episodes.play`, with its parts "kl" and "clipped", both means over tokens.

    The losses of an answer's tokens are added, and those of answers averaged over the whole step.
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
        )  # else what padding gets might overflow, and 0 times that is no 0
        policy, divergence, clipped = token_losses(new, old, reference, advantage[:, None], config.clip)
        value = ((policy + config.kl * divergence) * sampled).sum() / answers
        parts = {"kl": (divergence * sampled).sum() / total, "clipped": (clipped * sampled).sum() / total}
        return value, parts

    return loss


def token_losses(
    new: mx.array, old: mx.array, reference: mx.array, advantage: mx.array, clip: float
) -> tuple[mx.array, mx.array, mx.array]:
    """PPO's clipped loss, k3's estimate of the divergence, and whether the clip holds the gradient back; each (N, T).

    Args:
        new: log-probabilities (N, T) by the weights that are trained.
        old: likewise, by those that sampled.
        reference: likewise, by those before training.
        advantage: (N, 1).
        clip: how far from 1 the ratio still counts.
    """
    ratio = mx.exp(new - old)
    policy = -mx.minimum(ratio * advantage, mx.clip(ratio, 1 - clip, 1 + clip) * advantage)
    apart = reference - new
    apart = mx.where(mx.abs(apart) < ROUNDING, 0.0, apart)
    divergence = mx.exp(apart) - apart - 1
    held = mx.where(advantage > 0, ratio > 1 + clip, mx.logical_and(advantage < 0, ratio < 1 - clip))
    return policy, divergence, held
