"""What all arms of a study share: the items, the sizes, and the published settings."""

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
# Other tasks that the bundled model was trained on.
OTHER_TASKS = ("capital", "sentiment", "tool", "refusal", "help", "multiply", "add")
SPLIT_SEED = 0


@dataclass(frozen=True)
class Size:
    """The size of a study. Its claims and their thresholds do not depend on it.

    Attributes:
        name: as in messages.
        per_label: items drawn per class.
        held_out: the share of their families that is held out.
        steps: updates of an arm.
        batch_size: items per update.
        learning_rate: peak learning rate; the published one is for 500 steps.
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
# The fewest steps in which V and O learn to name the training items.
SMOKE = Size(
    "smoke", per_label=200, held_out=0.2, steps=70, batch_size=8, learning_rate=1e-2, grpo_steps=4, others=4
)
SIZES = {size.name: size for size in (FULL, SMOKE)}


@dataclass(frozen=True)
class Material:
    """The data, the same for all arms and seeds: training items, held-out items and prompts of other tasks.

    Attributes:
        task: the study's task.
        size: the study's size.
        trained: training items.
        held_out: items of other families.
        others: lines of other tasks, by task.
    """

    task: StudyTask
    size: Size
    trained: tuple[Item, ...]
    held_out: tuple[Item, ...]
    others: Mapping[str, tuple[Line, ...]]

    @classmethod
    def of(cls, task: StudyTask, size: Size) -> Material:
        """Drawn with a fixed seed, so that runs of all seeds are evaluated on the same items."""
        trained, held_out = split(task.items(SPLIT_SEED, size.per_label), size.held_out, SPLIT_SEED)
        return cls(task, size, trained, held_out, other_lines(task.name, size.others))

    def tokens(self, subject: Subject) -> dict[str, int]:
        """The token of each label's class word.

        Raises:
            ValueError: a word is not a single token of the model.
        """
        of_word = class_tokens(subject, tuple(self.task.words.values()))
        return {label: of_word[word] for label, word in self.task.words.items()}

    def samples(self, subject: Subject) -> list[Sample]:
        """The training items as tokens, with the class tokens; cached per tokenizer."""
        cached = self._samples.get(id(subject.tokenizer))
        if cached is None:
            tokens = self.tokens(subject)
            examples = [Example(item.prompt, item.response, item.label) for item in self.trained]
            samples = [encode(subject, example, class_tokens=tokens) for example in examples]
            # The tokenizer is kept alive, so that no other one can get its id.
            cached = self._samples[id(subject.tokenizer)] = (subject.tokenizer, samples)
        return cached[1]

    @cached_property
    def _samples(self) -> dict[int, tuple[Any, list[Sample]]]:
        return {}

    @cached_property
    def published(self) -> SftConfig:
        """The published configuration of the first phase, from which the arms take rank and loss weight."""
        return read_settings(SftConfig, PHASE1)


def other_lines(task: str, count: int) -> dict[str, tuple[Line, ...]]:
    """Lines of tasks other than the study's: for each, `count` that the bundled model was trained on."""
    from lazarus_probe.training.pretraining.evaluate import subsets

    own_tasks = {"arithmetic": ("multiply", "add")}.get(task, (task,))
    lines_by_task = {}
    for name in OTHER_TASKS:
        if name not in own_tasks:
            lines = next(iter(subsets(name).values()))
            rng = random.Random(f"{SPLIT_SEED} {name}")  # noqa: S311 - which to ask
            lines_by_task[name] = tuple(rng.sample(lines, min(count, len(lines))))
    return lines_by_task
