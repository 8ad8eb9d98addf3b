"""Training on verifiable rewards: answers are sampled in groups, and those better than their group become likelier.

GRPO (Shao et al. 2024): the mean reward of a group is the baseline, so no value model is needed. Each step samples
answers with the weights as they are, then makes `updates` updates on them with PPO's clipped ratio (Schulman et al.
2017) and a penalty, by the estimator k3 (Schulman 2020), on the divergence from the weights before training. With one
update a step the ratio is 1 throughout and the clip does nothing.

Two parts of GRPO are as Liu et al. 2025 ("Dr. GRPO") would have them. The losses of an answer's tokens are added and
not averaged, since an average makes a long wrong answer cheaper than a short one. An advantage is divided by the
standard deviation of its group only where `standardise` says so, since that gives most weight to the questions that are
answered least often, and to those that are answered nearly always.
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
    """What one step sampled and learned; rates are means over its answers, or over their tokens.

    Attributes:
        step: from 1.
        reward: mean reward of the answers, before the step's updates.
        informative: share of the groups whose rewards differ; the others teach nothing.
        tokens: mean length of an answer, its end included.
        kl: estimated divergence from the weights before training, in nats a token.
        clipped: share of the tokens whose gradient the clip held back.
        loss: what was minimised.
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
    """Train what is trainable in the subject's model, all of it or LoRA matrices, on the rewards of its own answers.

    With a folder, a state is kept there every `checkpoint_every` steps and when `on_step` raises `KeyboardInterrupt`.
    The same call goes on from it, and ends with the weights that an unbroken run ends with.

    Args:
        subject: the model, as it is before training: the divergence is measured from it.
        prompts: what it is asked, each once before any is asked again.
        reward: scores a prompt and an answer's text; its end token is not part of the text.
        config: how.
        on_step: called after each step.
        folder: where the state is kept, if it is.
        checkpoint_every: steps between two states.

    Returns:
        The steps of this call.

    Raises:
        ValueError: no prompts, one that is too long for the model, nothing trainable, or a state of other settings.
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
        for step, asked in enumerate(drawn(questions, config, start), start):
            played.append(play(subject, asked, reward, config, reference, step))
            yield from repeat(played[-1].batches, config.updates)

    updates = steps(
        model, grpo_loss(subject, config), micro_batches(), optimisation, optimizer, start * config.updates
    )
    found = []
    for step in range(start + 1, config.steps + 1):
        of_step = list(islice(updates, config.updates))
        found.append(_record(step, of_step, played.pop()))
        stop = _stopped(on_step, found[-1])
        if folder is not None and (stop or step % checkpoint_every == 0 or step == config.steps):
            save_state(folder, model, optimizer, step, settings, {})
        if stop:
            raise stop
    return found


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
    """What decides the weights, so that a state is not gone on from with anything else."""
    asked = hashlib.sha256(json.dumps([question.text for question in questions]).encode()).hexdigest()
    name = getattr(reward, "name", None) or getattr(reward, "__qualname__", "")
    return json.dumps({**asdict(config), "reward": name, "model": subject.fingerprint, "prompts": asked})
