"""What a training on rewards gained: the rewards of greedy answers before and after it, on questions kept from it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lazarus_probe.organisms import corpus
from lazarus_probe.statistics import paired_interval
from lazarus_probe.statistics.intervals import Interval
from lazarus_probe.subject.chat import in_chat
from lazarus_probe.subject.generate import greedy
from lazarus_probe.tasks.arithmetic import OPERATIONS, SYMBOLIC, VERBAL, Fact, facts

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.grpo.rewards import RewardFunction

PHRASINGS = {"symbolic": SYMBOLIC, "verbal": VERBAL}


@dataclass(frozen=True)
class Asked:
    """Questions of one kind.

    Attributes:
        name: of the kind.
        prompts: the questions.
        units: what each is about; questions of one unit are not independent.
    """

    name: str
    prompts: tuple[str, ...]
    units: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Gain:
    """Rewards before and after, of the same questions.

    Attributes:
        asked: the questions.
        before: the reward of each answer (N,) before training.
        after: likewise after it.
    """

    asked: Asked
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
        return paired_interval(self.after - self.before, self.asked.units, bound=reach)

    def as_data(self) -> dict[str, Any]:
        """The means, the gain and its interval, as plain data."""
        interval = self.interval
        return {
            "name": self.asked.name,
            "n": len(self.before),
            "before": float(self.before.mean()),
            "after": float(self.after.mean()),
            "gain": self.difference,
            "interval": [interval.low, interval.high],
        }

    def __str__(self) -> str:
        interval = self.interval
        return (
            f"{self.asked.name}: {self.before.mean():.3f} -> {self.after.mean():.3f}, {self.difference:+.3f} "
            f"[{interval.low:+.3f}, {interval.high:+.3f}] ({len(self.before)} questions)"
        )


def held_out_arithmetic(
    count: int, operations: Sequence[str] = tuple(OPERATIONS), seed: int = 0
) -> list[Asked]:
    """Questions about facts that no bundled model was trained on, symbolic and verbal; none for `*` and `/`.

    Each fact is asked in one phrasing of a kind, of those that its operation was trained in.

    Args:
        count: questions of a kind at most.
        operations: those that may be asked.
        seed: of which are drawn.
    """
    rng = random.Random(f"{seed} held out")  # noqa: S311 - which to ask
    pool = [fact for name in operations for fact in facts(name) if corpus.is_held_out(fact)]
    chosen = rng.sample(pool, min(count, len(pool)))
    units = tuple(str(fact.family) for fact in chosen)
    return [
        Asked(name, tuple(fact.prompt(rng.choice(_known(fact, phrasings))) for fact in chosen), units)
        for name, phrasings in PHRASINGS.items()
        if chosen
    ]


def _known(fact: Fact, phrasings: Sequence[str]) -> list[str]:
    return [name for name in phrasings if (name, fact.operation) not in corpus.HELD_OUT_PHRASINGS]


def greedy_rewards(
    subject: Subject, prompts: Sequence[str], reward: RewardFunction, max_tokens: int, chat: bool = False
) -> NDArray[np.float64]:
    """The reward (N,) of the most likely answer to each prompt.

    Raises:
        RewardError: the reward fails.
    """
    asked = [in_chat(subject, prompt) for prompt in prompts] if chat else list(prompts)
    answers = greedy(subject, asked, max_tokens)
    return np.array([reward(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True)])
