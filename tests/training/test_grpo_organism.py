"""GRPO on the bundled early model: held-out facts become better known where the reward is true, and only there."""

from __future__ import annotations

import numpy as np
import pytest

from lazarus_probe.organisms import corpus
from lazarus_probe.statistics.clustered import paired_interval
from lazarus_probe.subject.subject import Subject
from lazarus_probe.tasks.rewards import arithmetic_reward
from lazarus_probe.training.grpo.gain import Gain, greedy_rewards, held_out_arithmetic
from lazarus_probe.training.grpo.settings import Grpo
from lazarus_probe.training.grpo.train import train_grpo

SEEDS = (0, 1, 2)


def gained(seed: int, true: bool) -> Gain:
    """What 150 steps on `+` and `-` gain on held-out facts; without true rewards, a coin decides."""
    subject = Subject.load("organism-early")
    asked = held_out_arithmetic(600)[0]
    before = greedy_rewards(subject, asked.prompts, arithmetic_reward, 3)
    lines = [line for name in ("add", "subtract") for line in corpus.split(name).trained]
    prompts = [line.prompt for line in lines if line.phrasing == "spaced"]
    coin = np.random.default_rng(seed)

    def drawn(_prompt: str, _response: str) -> float:
        return float(coin.random() < 0.15)

    config = Grpo(
        steps=150, batch_size=32, group_size=8, max_tokens=3, learning_rate=2e-4, final_learning_rate=2e-5,
        warmup=10, kl=0.03, seed=seed,
    )  # fmt: skip
    train_grpo(subject, prompts, arithmetic_reward if true else drawn, config)
    return Gain(asked, before, greedy_rewards(subject, asked.prompts, arithmetic_reward, 3))


def interval(gains: list[Gain]):
    """Of the mean gain over seeds, families being the units."""
    differences = np.mean([gain.after - gain.before for gain in gains], axis=0)
    return paired_interval(differences, gains[0].asked.units)


@pytest.mark.long
def test_held_out_facts_are_better_known():
    """Over three seeds held-out exact match rises where the reward is true, and not where a coin decides it."""
    true = interval([gained(seed, True) for seed in SEEDS])
    by_coin = interval([gained(seed, False) for seed in SEEDS])
    assert true.low > 0
    assert by_coin.low <= 0
