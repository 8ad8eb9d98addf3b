"""From the settings of a fine-tuning to its data, model, trainable weights and loss."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import mlx.nn as nn
import numpy as np

from lazarus_probe.adapters.adapter_files import read_settings
from lazarus_probe.anatomy.projections import adapted, rank_of
from lazarus_probe.checkpoints.formats import MLX_CONFIG, MLX_WEIGHTS
from lazarus_probe.checkpoints.quantised import WAS
from lazarus_probe.files.paths import check_utf8, real_path
from lazarus_probe.subject.spellings import Spelled
from lazarus_probe.subject.subject import Subject
from lazarus_probe.training.batches import Sample
from lazarus_probe.training.dual_reward import class_spellings
from lazarus_probe.training.dual_reward_config import DualReward
from lazarus_probe.training.loop import Optimisation
from lazarus_probe.training.lora.lora import attach, trainable_count
from lazarus_probe.training.losses import sft_loss
from lazarus_probe.training.settings import split_layers
from lazarus_probe.training.sft.config import SftConfig
from lazarus_probe.training.sft.data import by_turn, encode_all, read_jsonl
from lazarus_probe.training.sft.jsonl import Example
from lazarus_probe.training.state import has_state, state_step

if TYPE_CHECKING:
    from lazarus_probe.training.losses import Loss

Note = Callable[[str], None]

# Settings that affect output and saving, but not the weights.
SHOWN = {"output", "log_interval", "log_format", "checkpoint_interval"}
STATE = "checkpoints"


@dataclass(frozen=True, eq=False)
class Training:
    """A fine-tuning that is ready to start or to resume.

    Attributes:
        config: its settings.
        subject: the model, with its trainable weights chosen.
        samples: the training samples.
        held_out: the validation samples.
        layer: where the class is read, if there is a classification loss.
        loss: of a batch.
        optimisation: the schedule.
        skipped: the problem of each skipped line.
        settings: everything that determines the weights; a state of other settings is not resumed.
    """

    config: SftConfig
    subject: Subject
    samples: list[Sample]
    held_out: list[Sample]
    layer: int | None
    loss: Loss
    optimisation: Optimisation
    skipped: list[str]
    settings: str

    @property
    def state(self) -> Path:
        """The folder of the state that the same command resumes from."""
        return self.config.output / STATE


def prepare(config: SftConfig, on_note: Note = lambda _line: None) -> Training:
    """Read the data, load the model, choose the trainable weights; nothing is written.

    Args:
        config: the settings.
        on_note: called with each line of the header.

    Raises:
        OSError: a file cannot be read.
        ValueError: the data, the adapter or a setting does not fit the model; the message names it.
        IndexError: there is no such layer.
    """
    _check_output(config)
    skipped: list[str] = []
    examples, held_out = _examples(config, skipped.append)
    on_note(f"Loading model: {config.model}")
    _check_adapter(config)
    subject = Subject.load(config.model, config.adapter)
    fingerprint = subject.fingerprint
    spelled, layer = _classes(config, subject)
    tokens = None if spelled is None else dict(spelled.tokens)
    if spelled is not None:
        on_note(f"Class tokens: {tokens}, {spelled.convention}")

    def encoded(some: Sequence[Example]) -> list[Sample]:
        turns = by_turn(some) if config.mask_prompt else some
        return encode_all(
            subject,
            turns,
            chat=config.chat,
            mask_prompt=config.mask_prompt,
            class_tokens=tokens,
            max_length=config.max_length,
            skip_bad=config.skip_bad,
            on_bad=skipped.append,
        )

    samples = encoded(examples)
    validation = encoded(held_out) if held_out else []
    trained = _choose(config, subject)
    _check_reach(config, trained, layer)
    weight = config.classifies.weight if config.classifies else 0.0
    training = Training(
        config,
        subject,
        samples,
        validation,
        layer,
        sft_loss(subject, layer, weight),
        Optimisation(config.learning_rate, _steps(config, len(samples)), config.warmup),
        skipped,
        _settings(config, fingerprint, [*samples, *validation]),
    )
    for line in _header(training, trained, tokens, layer):
        on_note(line)
    return training


def _check_output(config: SftConfig) -> None:
    output = config.output
    check_utf8(output, "output")
    if output.exists() and not output.is_dir():
        raise ValueError(f"output {output} is a file; give a folder")
    if config.adapter is not None and real_path(output) == real_path(config.adapter):
        raise ValueError(f"output {output} is the adapter to resume from; give another folder")
    if (output / MLX_WEIGHTS).exists() and not has_state(output / STATE):
        raise ValueError(f"{output} holds an adapter already; train into another folder, or remove it")


def _check_adapter(config: SftConfig) -> None:
    """Check that an adapter can be resumed: the new adapter must be able to express all of it."""
    if config.adapter is None:
        return
    if not config.use_lora:
        raise ValueError("adapter can be resumed with LoRA only; for use_lora: false give the merged model")
    file = config.adapter / MLX_CONFIG
    kind = read_settings(file).get("fine_tune_type", "lora") if file.is_file() else "lora"
    if kind != "lora":
        raise ValueError(f"{file}: the adapter is of type {kind!r}; only 'lora' can be resumed")


def _examples(config: SftConfig, on_bad: Note) -> tuple[list[Example], list[Example]]:
    """The training examples and the held-out ones."""
    examples = read_jsonl(config.data, config.skip_bad, on_bad)
    if config.eval_data is not None:
        return examples, read_jsonl(config.eval_data, config.skip_bad, on_bad)
    return split(examples, config.eval_share, config.seed) if config.eval_share else (examples, [])


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """The training and held-out examples, where a share of the distinct prompts is held out.

    Raises:
        ValueError: there are fewer than two distinct prompts.
    """
    keys = [(example.prompt or example.response, example.messages) for example in examples]
    different = list(dict.fromkeys(keys))
    if len(different) < 2:
        raise ValueError("eval_share needs two different prompts at least; give eval_data")
    count = min(max(1, round(share * len(different))), len(different) - 1)
    chosen = np.random.default_rng([seed, 1]).permutation(len(different))[:count]
    held_out = {different[index] for index in chosen}
    training = [example for example, key in zip(examples, keys, strict=True) if key not in held_out]
    return training, [example for example, key in zip(examples, keys, strict=True) if key in held_out]


def _classes(config: SftConfig, subject: Subject) -> tuple[Spelled | None, int | None]:
    """The class tokens and the classifier layer, if there is a classification loss."""
    wanted = config.classifies
    if wanted is None:
        return None, None
    layer = DualReward(classifier_layer=wanted.layer).layer(subject.num_layers)
    return class_spellings(subject, wanted.targets), layer


def _choose(config: SftConfig, subject: Subject) -> tuple[int, ...]:
    """Make the chosen weights trainable, and return their layers."""
    frozen, trained = split_layers(config.freeze_layers, subject.num_layers)
    if config.use_lora:
        _attach(config, subject, trained)
    else:
        unfreeze(subject, frozen)
    return trained


def _attach(config: SftConfig, subject: Subject, trained: Sequence[int]) -> None:
    """Put LoRA on the trained layers; the adapter's LoRA there is trained further, elsewhere it stays frozen."""
    loras = [projection.module for projection in adapted(subject.anatomy)]
    rank, scale = config.lora_rank, config.lora_scale
    if loras:
        explicit = config.model_fields_set
        rank = rank if "lora_rank" in explicit else rank_of(loras[0])
        scale = scale if "lora_scale" in explicit else loras[0].scale
        if {rank_of(layer) for layer in loras} != {rank}:
            raise ValueError(
                f"lora_rank is {rank} and the adapter's is {rank_of(loras[0])}: one adapter has one rank; give that"
            )
        if {layer.scale for layer in loras} != {scale}:
            raise ValueError(
                f"lora_scale is {scale} and the adapter's is {loras[0].scale}: one adapter has one scale; give that"
            )
    attach(subject, config.lora_targets, rank, scale, config.seed, trained, config.lora_dropout)


def unfreeze(subject: Subject, frozen: Sequence[int]) -> None:
    """Make everything trainable except the frozen layers, and the embedding if the first layer is frozen.

    So the output of frozen layers 0 to n stays unchanged.
    """
    model = subject.model
    # What is trained from a dequantised model would fit no quantised one, which the checkpoint is on other devices.
    if WAS in subject.config or any(isinstance(module, nn.QuantizedLinear) for module in model.modules()):
        raise ValueError(f"{subject.name} is quantised; its weights cannot be trained, so set use_lora: true")
    model.unfreeze()
    for layer in frozen:
        subject.anatomy.blocks[layer].freeze()
    if 0 in frozen:
        subject.anatomy.embedding.freeze()


def _check_reach(config: SftConfig, trained: Sequence[int], layer: int | None) -> None:
    if config.use_lora and layer is not None and min(trained) > layer:
        raise ValueError(
            f"intermediate_loss.layer {layer} reads below every layer that is trained ({min(trained)} and up), so "
            "nothing could lower its loss; freeze fewer layers, or disable intermediate_loss"
        )


def _steps(config: SftConfig, samples: int) -> int:
    """Number of updates: `epochs` passes over the data, at most `max_steps`."""
    forwards = config.epochs * -(-samples // min(config.batch_size, samples))
    steps = -(-forwards // config.accumulate)
    return min(steps, config.max_steps or steps)


def _settings(config: SftConfig, fingerprint: str, samples: Sequence[Sample]) -> str:
    decides = config.model_dump(mode="json", exclude=SHOWN)
    data = hashlib.sha256()
    for sample in samples:
        data.update(repr(sample).encode())
    return json.dumps({**decides, "subject": fingerprint, "samples": data.hexdigest()}, sort_keys=True)


def _header(
    training: Training, trained: Sequence[int], tokens: dict[str, int] | None, layer: int | None
) -> list[str]:
    config, subject = training.config, training.subject
    count = subject.num_layers
    lines = [f"  Layers: {count}"]
    if config.freeze_layers:
        lines.append(f"  Frozen layers: {config.freeze_layers} ({count - len(trained)} of {count})")
    if layer is not None:
        lines.append(f"  Classifier layer: L{layer} ({100 * layer / count:.0f}% depth)")
        lines.append(f"  Class tokens: {tokens}")
    if config.use_lora:
        rank = next(rank_of(projection.module) for projection in adapted(subject.anatomy))
        lines.append(f"  LoRA rank: {rank} on {', '.join(config.lora_targets)}")
    lines.append(f"  Trainable params: {trainable_count(subject.model):,}")
    lines += ["", f"  Training samples: {len(training.samples)}"]
    if training.held_out:
        trained_prompts = {_prompt_tokens(sample) for sample in training.samples}
        shared = sum(_prompt_tokens(sample) in trained_prompts for sample in training.held_out)
        warning = f" ({shared} of them with a prompt that is trained on)" if shared else ""
        lines.append(f"  Validation samples: {len(training.held_out)}{warning}")
    if config.classifies:
        lines.append(f"  Classification weight: {config.classifies.weight}")
    steps, start = training.optimisation.steps, state_step(training.state)
    lines += [f"  Learning rate: {config.learning_rate}", f"  Steps: {steps}", ""]
    resuming = [f"resuming after step {start} of {steps} in {config.output}", ""]
    return lines + resuming if start else lines


def _prompt_tokens(sample: Sample) -> tuple[int, ...]:
    """The tokens of the prompt; for plain text, all tokens."""
    return sample.tokens[: sample.read_at + 1] if sample.read_at else sample.tokens
