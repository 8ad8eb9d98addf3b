"""The sampled answers of one step, their rewards, and the inputs that they give to the loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import mlx.core as mx
import numpy as np
from numpy.typing import NDArray

from lazarus_probe.subject.chat import in_chat
from lazarus_probe.subject.generate import continuation
from lazarus_probe.training.grpo.policy import advantages
from lazarus_probe.training.grpo.rollouts import Rollout, log_probs, sample, shares_prefix

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.grpo.rewards import RewardFunction
    from lazarus_probe.training.grpo.settings import Grpo


@dataclass(frozen=True)
class Question:
    """A prompt as the reward function gets it, and its tokens."""

    text: str
    tokens: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Played:
    """The answers of one step.

    Attributes:
        batches: micro-batches of prompts of equal length: prompts (P, L); tokens, a mask of the sampled ones, and their
            log-probabilities under the sampling weights and under those before training, each (P * G, T); advantages
            (P * G,); and the numbers of answers () and of sampled tokens () in the whole step.
        rewards: (P, G).
        tokens: mean length of an answer.
    """

    batches: list[tuple[mx.array, ...]]
    rewards: NDArray[Any]
    tokens: float


def encoded(subject: Subject, prompts: Sequence[str], config: Grpo) -> list[Question]:
    """The prompts with their tokens.

    Raises:
        ValueError: there are no prompts, or one that with its answer exceeds the model's context.
    """
    if not prompts:
        raise ValueError("no prompts to train on; give at least one")
    limit = subject.context_length
    questions = []
    for prompt in prompts:
        tokens = subject.encode(in_chat(subject, prompt) if config.chat else prompt)
        if limit is not None and len(tokens) + config.max_tokens > limit:
            raise ValueError(
                f"prompt {prompt[:60]!r} has {len(tokens)} tokens: with max_tokens {config.max_tokens} that is more "
                f"than the {limit} of {subject.name}; leave it out, or lower max_tokens"
            )
        questions.append(Question(prompt, tuple(tokens)))
    return questions


def drawn(questions: Sequence[Question], config: Grpo, start: int = 0) -> Iterator[list[Question]]:
    """The questions of each step, as an infinite iterator: of equal length where possible, each once per epoch.

    Args:
        questions: all training questions.
        config: the number per step, and the seed.
        start: steps already made.
    """
    epoch, offset = divmod(
        start, len(_epoch(questions, config, 0))
    )  # every epoch has the same number of steps
    for number in count(epoch):
        for chosen in _epoch(questions, config, number)[offset:]:
            yield [questions[index] for index in chosen]
        offset = 0


def _epoch(questions: Sequence[Question], config: Grpo, epoch: int) -> list[list[int]]:
    rng = np.random.default_rng([config.seed, epoch])
    order = sorted(rng.permutation(len(questions)).tolist(), key=lambda i: len(questions[i].tokens))
    buckets: dict[int, list[int]] = {}
    for index in order:
        buckets.setdefault(len(questions[index].tokens), []).append(index)
    size, batches, left = config.batch_size, [], []
    for bucket in buckets.values():
        full = len(bucket) // size * size
        batches += [bucket[i : i + size] for i in range(0, full, size)]
        left += bucket[full:]
    batches += [left[i : i + size] for i in range(0, len(left), size)]
    return [batches[i] for i in rng.permutation(len(batches))]


def play(
    subject: Subject,
    questions: Sequence[Question],
    reward: RewardFunction,
    config: Grpo,
    reference: Any,
    step: int,
) -> Played:
    """Sample answers to a step's questions with the current weights, and score them with the reward.

    Args:
        subject: the model.
        questions: of this step; those of equal length are run together.
        reward: scores a prompt and an answer's text.
        config: the training settings.
        reference: the trainable weights before training.
        step: from 0; with the seed it determines the samples.

    Raises:
        RewardError: the reward fails.
    """
    groups = _by_length(questions)
    seed = int(np.random.SeedSequence([config.seed, step]).generate_state(1)[0])
    keys = mx.random.split(mx.random.key(seed), len(groups))
    rollouts = [_sampled(subject, group, config, key) for group, key in zip(groups, keys, strict=True)]
    rewards = [
        _rewards(subject, *answered_group, reward) for answered_group in zip(groups, rollouts, strict=True)
    ]
    sampled: Any = sum(rollout.sampled.sum() for rollout in rollouts)
    answers = mx.array(float(config.batch_size * config.group_size))
    with _weights(subject.model, reference):
        batches = [
            _micro_batch(subject, rollout, advantages(scored, config.standardise), config, answers, sampled)
            for rollout, scored in zip(rollouts, rewards, strict=True)
        ]
    all_rewards = np.concatenate(rewards)
    return Played(batches, all_rewards, sampled.item() / all_rewards.size)


def _by_length(questions: Sequence[Question]) -> list[list[Question]]:
    groups: dict[int, list[Question]] = {}
    for question in questions:
        groups.setdefault(len(question.tokens), []).append(question)
    return list(groups.values())


def _sampled(subject: Subject, questions: Sequence[Question], config: Grpo, key: mx.array) -> Rollout:
    prompts = mx.array([question.tokens for question in questions])
    return sample(subject, prompts, config.group_size, config.max_tokens, config.temperature, key)


def _rewards(
    subject: Subject, questions: Sequence[Question], rollout: Rollout, reward: RewardFunction
) -> NDArray[Any]:
    rows: Any = rollout.tokens.tolist()
    lengths: Any = rollout.sampled.sum(axis=1).tolist()
    size = len(rows) // len(questions)
    scores = []
    for index, (row, length) in enumerate(zip(rows, lengths, strict=True)):
        question = questions[index // size]
        new = row[: int(length)]
        if new[-1] in subject.eos_token_ids:
            new = new[:-1]
        scores.append(reward(question.text, continuation(subject, list(question.tokens), new)))
    return np.array(scores).reshape(len(questions), size)


def _micro_batch(
    subject: Subject,
    rollout: Rollout,
    advantage: NDArray[Any],
    config: Grpo,
    answers: mx.array,
    total: mx.array,
) -> tuple[mx.array, ...]:
    """The inputs of the loss; called while the model has its weights before training."""
    shared = shares_prefix(subject.model)
    reference = log_probs(subject, rollout.prompts, rollout.tokens, config.temperature, shared)
    reference = mx.where(rollout.sampled > 0, reference, 0.0)
    arrays = (
        rollout.prompts, rollout.tokens, rollout.sampled, rollout.log_probs, reference,
        mx.array(advantage.reshape(-1)), answers, total,
    )  # fmt: skip
    mx.eval(arrays)
    return arrays


@contextmanager
def _weights(model: Any, weights: Any) -> Iterator[None]:
    """Temporarily replace the trainable weights."""
    own = model.trainable_parameters()
    model.update(weights)
    try:
        yield
    finally:
        model.update(own)
