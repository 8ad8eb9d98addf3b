"""A complete training on rewards, from its settings to the files that it writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from mlx.utils import tree_flatten
from numpy.typing import NDArray

from lazarus_probe.checkpoints.formats import INDEX, MLX_WEIGHTS
from lazarus_probe.files.paths import check_utf8
from lazarus_probe.files.weight_files import write_arrays
from lazarus_probe.files.whole_files import is_writing, make_folder, whole_file, write_aside
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.grpo.config import SETTINGS, GrpoConfig
from lazarus_probe.training.grpo.episodes import encoded
from lazarus_probe.training.grpo.gain import Gain, HeldOutQuestions, greedy_rewards, held_out_arithmetic
from lazarus_probe.training.grpo.prompts import arithmetic_prompts, read_prompts
from lazarus_probe.training.grpo.rewards import Reward, RewardError, load_reward
from lazarus_probe.training.grpo.settings import ARITHMETIC
from lazarus_probe.training.grpo.train import GrpoStep, train_grpo
from lazarus_probe.training.log import Log
from lazarus_probe.training.lora.adapter import save_adapter, save_lora_weights
from lazarus_probe.training.lora.lora import attach, trainable_count
from lazarus_probe.training.settings import split_layers
from lazarus_probe.training.sft.setup import unfreeze
from lazarus_probe.training.state import has_state, state_step

STATE = "checkpoints"
MODEL = "model"
# The files of a checkpoint folder other than its weights.
COMPANION_FILES = ("*.json", "*.jinja", "*.model", "*.txt", "*.tiktoken")

Note = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class GrpoTraining:
    """A training that is ready to start or to resume.

    Attributes:
        config: its settings.
        subject: the model, with its trainable weights chosen.
        reward: scores the answers.
        prompts: the training prompts.
        held_out: held-out questions, answered before and after training.
    """

    config: GrpoConfig
    subject: Subject
    reward: Reward
    prompts: list[str]
    held_out: list[HeldOutQuestions]

    @property
    def state(self) -> Path:
        """The folder of the state that a training with the same settings resumes from."""
        return self.config.output / STATE

    @property
    def start(self) -> int:
        """The step that it resumes from; 0 for a new training."""
        return state_step(self.state)


@dataclass(frozen=True)
class GrpoResult:
    """A finished training.

    Attributes:
        saved: the folder of the adapter or the model.
        gains: on held-out questions.
    """

    saved: Path
    gains: tuple[Gain, ...]


def prepare(config: GrpoConfig, on_note: Note = lambda _line: None) -> GrpoTraining:
    """Read prompts and reward, load the model and choose the trainable weights; nothing is written.

    Raises:
        OSError: a file cannot be read.
        RewardError: the reward cannot be loaded.
        ValueError: prompts or a setting do not fit the model, or the output folder holds something else.
    """
    _check_output(config)
    reward = load_reward(config.reward)
    prompts = _prompts(config, reward)
    on_note(f"Loading model: {config.model}")
    subject = Subject.load(config.model)
    encoded(subject, prompts, config.algorithm)
    _choose(config, subject)
    bundled = config.reward == ARITHMETIC and config.prompts is None
    held_out = held_out_arithmetic(config.evaluate, config.operations) if bundled and config.evaluate else []
    on_note(f"  Trainable params: {trainable_count(subject.model):,}")
    on_note(f"  Prompts: {len(set(prompts)):,}, reward {config.reward}")
    on_note(
        f"  A step: {config.batch_size} prompts x {config.group_size} answers, {config.updates} updates\n"
    )
    return GrpoTraining(config, subject, reward, prompts, held_out)


def run(
    training: GrpoTraining,
    on_step: Callable[[GrpoStep], None] = lambda _step: None,
) -> GrpoResult:
    """Run the training that `prepare` returned.

    The output folder gets the adapter (as `train sft` writes it) or, for full weights, an ordinary checkpoint under
    `model`; the settings as `grpo.yaml`, a log of every step, and the state that the same settings resume from.

    Raises:
        OSError: a file cannot be written.
        RewardError: the reward fails.
        ValueError: the saved state has other settings.
        FloatingPointError: a loss is not finite; the weights of the last good update are saved.
    """
    config, before = training.config, _rewards(training)
    with Log(config.output / f"log.{config.log_format}", training.start) as log:

        def log_step(step: GrpoStep) -> None:
            log.write(step.as_row())
            log.sync()  # a state may be saved after this step
            on_step(step)

        try:
            train_grpo(
                training.subject,
                training.prompts,
                training.reward,
                config.algorithm,
                log_step,
                training.state,
                config.checkpoint_interval,
            )
        except FloatingPointError as error:
            raise FloatingPointError(f"{error}; the last good weights are in {save(training)}") from error
    saved = save(training)
    after = _rewards(training)
    gains = tuple(Gain(*rewards) for rewards in zip(training.held_out, before, after, strict=True))
    return GrpoResult(saved, gains)


def save(training: GrpoTraining) -> Path:
    """Write the current trainable weights with the settings, and return their folder."""
    config = training.config
    text = yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)
    write_aside(config.output / SETTINGS, text)
    if not config.use_lora:
        folder = _save_model(training.subject, config.output / MODEL)
        write_aside(folder / SETTINGS, text)
        return folder
    extra = {"steps": config.max_steps, "reward": config.reward, "freeze_layers": config.freeze_layers}
    save_adapter(training.subject, config.output, base=config.model, extra=extra)
    return save_lora_weights(training.subject, config.output, {"model": config.model, **extra})


def _save_model(subject: Subject, folder: Path) -> Path:
    """Write a checkpoint folder with the current weights and all other files of the original folder."""
    make_folder(folder)
    if subject.path is None or subject.path.is_file():  # an untrained model, or a GGUF file
        write_aside(folder / "config.json", json.dumps(subject.config, indent=2) + "\n")
        if is_writing():
            subject.tokenizer.save_pretrained(folder)
    else:
        for file in (
            file for pattern in COMPANION_FILES for file in subject.path.glob(pattern) if file.name != INDEX
        ):
            with whole_file(folder / file.name) as aside:
                shutil.copyfile(file, aside)
    weights = dict(tree_flatten(subject.model.parameters()))
    write_arrays(folder / "model.safetensors", weights, {"format": "pt"})
    return folder


def _check_output(config: GrpoConfig) -> None:
    output = config.output
    check_utf8(output, "output")
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output} is a file; give a folder")
    existing = [name for name in (MLX_WEIGHTS, MODEL) if (output / name).exists()]
    if existing and not has_state(output / STATE):
        raise ValueError(f"{output} holds {existing[0]} already; train into another folder, or remove it")


def _prompts(config: GrpoConfig, reward: Reward) -> list[str]:
    if config.prompts is not None:
        return read_prompts(config.prompts)
    if reward.prompts is not None:
        return list(reward.prompts)
    if config.reward != ARITHMETIC:
        raise RewardError(
            f"{config.reward} has no get_prompts(), and no prompts are given; give --prompts FILE.jsonl"
        )
    # One prompt per question of the training: none repeats, unless it is drawn twice.
    return arithmetic_prompts(config.max_steps * config.batch_size, config.operations, config.seed)


def _choose(config: GrpoConfig, subject: Subject) -> None:
    """Make the chosen weights trainable."""
    frozen, trained = split_layers(config.freeze_layers, subject.num_layers)
    if config.use_lora:
        attach(subject, config.lora_targets, config.lora_rank, config.lora_scale, config.seed, trained)
    else:
        unfreeze(subject, frozen)


def _rewards(training: GrpoTraining) -> list[NDArray[np.float64]]:
    config: Any = training.config
    return [
        greedy_rewards(training.subject, questions.prompts, training.reward, config.max_tokens, config.chat)
        for questions in training.held_out
    ]
