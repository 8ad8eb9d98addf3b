"""Training on verifiable rewards: answers are sampled in groups, and those better than their group become more likely.

GRPO (Shao et al. 2024): the mean reward of a group is the baseline, so no value model is needed. Each step samples
answers with the current weights, then makes `updates` updates on them with PPO's clipped ratio (Schulman et al. 2017)
and a penalty on the KL divergence from the weights before training, by the k3 estimator (Schulman 2020). With one
update per step the ratio is 1 throughout and the clip has no effect.

Two parts of GRPO follow Liu et al. 2025 ("Dr. GRPO"). The losses of an answer's tokens are summed, not averaged, since
an average makes a long wrong answer cheaper than a short one. An advantage is divided by the standard deviation of its
group only if `standardise` is set, since that gives most weight to the questions that are answered least often, and to
those that are answered nearly always.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice, repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from mlx.utils import tree_flatten

from lazarus_probe.training.grpo.episodes import Played, Question, drawn, encoded, play
from lazarus_probe.training.grpo.policy import grpo_loss
from lazarus_probe.training.grpo.settings import Grpo
from lazarus_probe.training.loop import Optimisation, Step, optimizer_for, steps
from lazarus_probe.training.state import load_state, save_state

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.grpo.rewards import RewardFunction


@dataclass(frozen=True)
class GrpoStep:
    """The statistics of one step; rates are means over its answers, or over their tokens.

    Attributes:
        step: from 1.
        reward: mean reward of the answers, before the step's updates.
        informative: share of the groups whose rewards differ; the others give no gradient.
        tokens: mean length of an answer, its end included.
        kl: estimated KL divergence from the weights before training, in nats per token.
        clipped: share of the tokens whose gradient was clipped.
        loss: mean loss of the updates.
        learning_rate: of the last update.
        grad_norm: of its gradient, before clipping.
    """

    step: int
    reward: float
    informative: float
    tokens: float
    kl: float
    clipped: float
    loss: float
    learning_rate: float
    grad_norm: float

    def as_row(self) -> dict[str, int | float]:
        """Everything as plain values, for a log."""
        return asdict(self)


def train_grpo(
    subject: Subject,
    prompts: Sequence[str],
    reward: RewardFunction,
    config: Grpo,
    on_step: Callable[[GrpoStep], None] = lambda _step: None,
    folder: Path | None = None,
    checkpoint_every: int = 50,
) -> list[GrpoStep]:
    """Train the trainable weights of the subject's model, all of them or LoRA matrices, on rewards of its own answers.

    With a folder, a state is saved there every `checkpoint_every` steps and when `on_step` raises `KeyboardInterrupt`.
    The same call resumes from it, and ends with the same weights as an uninterrupted run.

    Args:
        subject: the model before training, from which the divergence is measured.
        prompts: the training prompts, each used once per epoch.
        reward: scores a prompt and an answer's text; the end token is not part of the text.
        config: the training settings.
        on_step: called after each step.
        folder: where the state is saved; None saves none.
        checkpoint_every: steps between two saved states.

    Returns:
        The steps made in this call.

    Raises:
        ValueError: no prompts, one too long for the model, nothing trainable, or a saved state of other settings.
        RewardError: the reward fails; see `rewards.Reward`.
        Diverged: the loss is not finite; the weights are those of the last good update.

    Example:
        >>> from lazarus_probe import Subject
        >>> from lazarus_probe.tasks import arithmetic_reward
        >>> from lazarus_probe.training import Grpo, train_grpo
        >>> policy = Subject.load("organism-untrained")
        >>> config = Grpo(steps=1, updates=1, batch_size=2, group_size=2, max_tokens=2)
        >>> steps = train_grpo(policy, ["7*8=", "6*9="], arithmetic_reward, config)
        >>> steps[0].step, steps[0].reward
        (1, 0.0)
    """
    questions = encoded(subject, prompts, config)
    model, reference = subject.model, subject.model.trainable_parameters()
    if not tree_flatten(reference):
        raise ValueError("nothing is trainable: every parameter is frozen; attach LoRA, or unfreeze some")
    optimisation = _optimisation(config)
    optimizer = optimizer_for(optimisation)
    settings = "" if folder is None else _settings(subject, questions, reward, config)
    start = 0 if folder is None else load_state(folder, model, optimizer, settings)[0]
    played: list[Played] = []

    def micro_batches() -> Iterator[Sequence[tuple[mx.array, ...]]]:
        for step, batch in enumerate(drawn(questions, config, start), start):
            played.append(play(subject, batch, reward, config, reference, step))
            yield from repeat(played[-1].batches, config.updates)

    updates = steps(
        model, grpo_loss(subject, config), micro_batches(), optimisation, optimizer, start * config.updates
    )
    records = []
    for step in range(start + 1, config.steps + 1):
        of_step = list(islice(updates, config.updates))
        records.append(_record(step, of_step, played.pop()))
        stop = _stopped(on_step, records[-1])
        if folder is not None and (stop or step % checkpoint_every == 0 or step == config.steps):
            save_state(folder, model, optimizer, step, settings, {})
        if stop:
            raise stop
    return records


def _stopped(on_step: Callable[[GrpoStep], None], record: GrpoStep) -> KeyboardInterrupt | None:
    try:
        on_step(record)
    except KeyboardInterrupt as interrupt:
        return interrupt
    return None


def _optimisation(config: Grpo) -> Optimisation:
    return Optimisation(
        config.learning_rate,
        config.steps * config.updates,
        config.warmup * config.updates,
        config.final_learning_rate,
        config.weight_decay,
        config.clip_norm,
    )


def _record(step: int, updates: Sequence[Step], played: Played) -> GrpoStep:
    informative = (played.rewards != played.rewards[:, :1]).any(axis=1)
    kl, clipped = (
        float(np.mean([float(update.parts[name]) for update in updates])) for name in ("kl", "clipped")
    )
    return GrpoStep(
        step,
        float(played.rewards.mean()),
        float(informative.mean()),
        played.tokens,
        kl,
        clipped,
        float(np.mean([float(update.loss) for update in updates])),
        float(updates[-1].learning_rate),
        float(updates[-1].grad_norm),
    )


def _settings(subject: Subject, questions: Sequence[Question], reward: Any, config: Grpo) -> str:
    """Everything that determines the weights, so that a state is only resumed with the same settings."""
    prompts_hash = hashlib.sha256(json.dumps([question.text for question in questions]).encode()).hexdigest()
    name = getattr(reward, "name", None) or getattr(reward, "__qualname__", "")
    return json.dumps(
        {**asdict(config), "reward": name, "model": subject.fingerprint, "prompts": prompts_hash}
    )
