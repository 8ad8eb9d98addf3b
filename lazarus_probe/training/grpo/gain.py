"""The gain from training on rewards: rewards of greedy answers to held-out questions, before and after."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.organisms import corpus
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.subject.chat import chat_prompts
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC, VERBAL, Fact, facts

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.grpo.rewards import RewardFunction

PHRASINGS = {"symbolic": SYMBOLIC, "verbal": VERBAL}


@dataclass(frozen=True)
class HeldOutQuestions:
    """Held-out questions of one kind.

    Attributes:
        name: of the kind.
        prompts: the questions.
        units: the independent unit of each question; questions of one unit are not independent.
    """

    name: str
    prompts: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Gain:
    """Rewards before and after training, on the same questions.

    Attributes:
        questions: the questions.
        before: the reward of each answer (N,) before training.
        after: the same after training.
    """

    questions: HeldOutQuestions
    before: NDArray[Any]
    after: NDArray[Any]

    @property
    def difference(self) -> float:
        """The mean reward gained."""
        return float((self.after - self.before).mean())

    @property
    def interval(self) -> Interval:
        """The 95% interval of the mean gain, over units."""
        both = np.concatenate([self.before, self.after])
        reach = max(1.0, float(both.max() - both.min()))
        return paired_interval(self.after - self.before, self.questions.units, bound=reach)

    def as_data(self) -> dict[str, Any]:
        """The means, the gain and its interval, as plain data."""
        interval = self.interval
        return {
            "name": self.questions.name,
            "n": len(self.before),
            "before": float(self.before.mean()),
            "after": float(self.after.mean()),
            "gain": self.difference,
            "interval": [interval.low, interval.high],
        }

    def __str__(self) -> str:
        interval = self.interval
        return (
            f"{self.questions.name}: {self.before.mean():.3f} -> {self.after.mean():.3f}, {self.difference:+.3f} "
            f"[{interval.low:+.3f}, {interval.high:+.3f}] ({len(self.before)} questions)"
        )


def held_out_arithmetic(
    count: int, operations: Sequence[str] = tuple(OPERATIONS), seed: int = 0
) -> list[HeldOutQuestions]:
    """Questions about facts that no bundled model was trained on, symbolic and verbal; none for `*` and `/`.

    Each fact is phrased once per kind, in a phrasing that its operation was trained in.

    Args:
        count: questions per kind at most.
        operations: those to draw from.
        seed: of the draw.
    """
    rng = random.Random(f"{seed} held out")  # noqa: S311 - which to ask
    pool = [fact for name in operations for fact in facts(name) if corpus.is_held_out(fact)]
    chosen = rng.sample(pool, min(count, len(pool)))
    units = tuple(str(fact.family) for fact in chosen)
    return [
        HeldOutQuestions(
            name,
            tuple(fact.prompt(rng.choice(_trained_phrasings(fact, phrasings))) for fact in chosen),
            units,
        )
        for name, phrasings in PHRASINGS.items()
        if chosen
    ]


def _trained_phrasings(fact: Fact, phrasings: Sequence[str]) -> list[str]:
    return [name for name in phrasings if (name, fact.operation) not in corpus.HELD_OUT_PHRASINGS]


def greedy_rewards(
    subject: Subject, prompts: Sequence[str], reward: RewardFunction, max_tokens: int, chat: bool = False
) -> NDArray[np.float64]:
    """The reward (N,) of the greedy answer to each prompt.

    Raises:
        RewardError: the reward fails.
    """
    answers = greedy(subject, chat_prompts(subject, prompts, chat), max_tokens)
    return np.array([reward(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])
