"""What all arms of a study have in common: the items, how much is trained and read, and the published settings."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lazarus_probe.experiments.study_tasks import Item, StudyTask, split
from lazarus_probe.organisms.corpus import Line
from lazarus_probe.training.batches import Sample
from lazarus_probe.training.dual_reward import class_tokens
from lazarus_probe.training.settings import read_settings
from lazarus_probe.training.sft.config import SftConfig
from lazarus_probe.training.sft.data import encode
from lazarus_probe.training.sft.jsonl import Example

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

PHASE1 = Path(__file__).parent / "configs" / "dual_reward_phase1.yaml"
PHASE2 = Path(__file__).parent / "configs" / "routing_phase2.yaml"
# What the bundled model learned beside its arithmetic.
OTHER_TASKS = ("capital", "sentiment", "tool", "refusal", "help", "multiply", "add")
SPLIT_SEED = 0


@dataclass(frozen=True)
class Size:
    """How much is trained and read. What is claimed, and its thresholds, do not depend on it.

    Attributes:
        name: what messages call it.
        per_label: items drawn of each class.
        held_out: the share of their families that is not trained on.
        steps: updates of an arm.
        batch_size: items an update.
        learning_rate: at its highest; the published one is for 500 steps.
        grpo_steps: updates of the arm that samples its own answers.
        others: prompts of each other task.
    """

    name: str
    per_label: int
    held_out: float
    steps: int
    batch_size: int
    learning_rate: float
    grpo_steps: int
    others: int


FULL = Size(
    "full",
    per_label=700,
    held_out=0.2,
    steps=500,
    batch_size=16,
    learning_rate=1e-3,
    grpo_steps=30,
    others=40,
)
# As few steps as V and O need to name the items that they are trained on.
SMOKE = Size(
    "smoke", per_label=200, held_out=0.2, steps=70, batch_size=8, learning_rate=1e-2, grpo_steps=4, others=4
)
SIZES = {size.name: size for size in (FULL, SMOKE)}


@dataclass(frozen=True)
class Material:
    """The same for all arms and seeds: what is trained on, what is held out, and prompts of other tasks.

    Attributes:
        task: what the study is of.
        size: how much.
        trained: items to train on.
        held_out: items of other families.
        others: by task, lines that are not trained on here.
    """

    task: StudyTask
    size: Size
    trained: tuple[Item, ...]
    held_out: tuple[Item, ...]
    others: Mapping[str, tuple[Line, ...]]

    @classmethod
    def of(cls, task: StudyTask, size: Size) -> Material:
        """Drawn with a fixed seed: runs of several seeds are then read on the same items."""
        trained, held_out = split(task.items(SPLIT_SEED, size.per_label), size.held_out, SPLIT_SEED)
        return cls(task, size, trained, held_out, other_lines(task.name, size.others))

    def tokens(self, subject: Subject) -> dict[str, int]:
        """The token of each label's class word.

        Raises:
            ValueError: a word that is no single token of the model.
        """
        of_word = class_tokens(subject, tuple(self.task.words.values()))
        return {label: of_word[word] for label, word in self.task.words.items()}

    def samples(self, subject: Subject) -> list[Sample]:
        """The items to train on as tokens, with the class tokens; made once for a tokenizer."""
        known = self._samples.get(id(subject.tokenizer))
        if known is None:
            tokens = self.tokens(subject)
            examples = [Example(item.prompt, item.response, item.label) for item in self.trained]
            found = [encode(subject, example, class_tokens=tokens) for example in examples]
            # The tokenizer is kept too, for another one must not get its id.
            known = self._samples[id(subject.tokenizer)] = (subject.tokenizer, found)
        return known[1]

    @cached_property
    def _samples(self) -> dict[int, tuple[Any, list[Sample]]]:
        return {}

    @cached_property
    def published(self) -> SftConfig:
        """The published configuration of the first phase, which the arms take the rank and the weight from."""
        return read_settings(SftConfig, PHASE1)


def other_lines(task: str, count: int) -> dict[str, tuple[Line, ...]]:
    """Lines of tasks other than a study's: of each, `count` that the bundled model was trained on."""
    from lazarus_probe.training.pretraining.evaluate import subsets

    known = {"arithmetic": ("multiply", "add")}.get(task, (task,))
    found = {}
    for name in OTHER_TASKS:
        if name not in known:
            lines = next(iter(subsets(name).values()))
            rng = random.Random(f"{SPLIT_SEED} {name}")  # noqa: S311 - which to ask
            found[name] = tuple(rng.sample(lines, min(count, len(lines))))
    return found
