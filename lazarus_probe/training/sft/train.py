"""Supervised fine-tuning that can be interrupted at any time and resumed exactly."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import mlx.core as mx
import yaml

from lazarus_probe.anatomy.projections import adapted, rank_of
from lazarus_probe.anatomy.random_state import random_state
from lazarus_probe.checkpoints.formats import MLX_WEIGHTS
from lazarus_probe.files.whole_files import is_writing, write_aside
from lazarus_probe.subject.dealt import dealt, read_by_the_first
from lazarus_probe.training.batches import Batch, batches, collate
from lazarus_probe.training.curve import draw_curve
from lazarus_probe.training.log import Log
from lazarus_probe.training.loop import Diverged, Step, grad_checkpointed, optimizer_for, steps
from lazarus_probe.training.lora.adapter import save_adapter, save_lora_weights
from lazarus_probe.training.sft.config import SftConfig
from lazarus_probe.training.sft.setup import Note, Training, prepare
from lazarus_probe.training.state import load_state, save_state, state_step

__all__ = ["SftResult", "Training", "prepare", "run", "train_sft"]

BEST = "best"
SETTINGS = "sft.yaml"
WINDOW = 20

OnStep = Callable[[Step, float | None], None]


@dataclass(frozen=True)
class Progress:
    """The progress of a training; saved with its state.

    Attributes:
        step: updates made.
        best: the lowest validation loss, in nats.
        best_step: the update after which it was measured.
        worse: number of validations since.
        finished: the reason why it ended, or "".
    """

    step: int = 0
    best: float | None = None
    best_step: int | None = None
    worse: int = 0
    finished: str = ""


@dataclass(frozen=True)
class SftResult:
    """A finished training.

    Attributes:
        folder: the adapter, with log, curve and state.
        steps: updates made.
        finished: the reason why it ended: "all steps are done", or that validation no longer improved.
        best: the lowest validation loss, in nats; None without validation.
        best_step: the update that the weights are from, if there was a validation.
        skipped: the problem of each skipped line.
    """

    folder: Path
    steps: int
    finished: str
    best: float | None
    best_step: int | None
    skipped: tuple[str, ...]


def train_sft(
    config: SftConfig,
    on_step: OnStep = lambda _step, _validation: None,
    on_note: Note = lambda _line: None,
) -> SftResult:
    """Fine-tune a model, resuming from the state in the output folder if there is one.

    The output folder gets `adapters.safetensors` and `adapter_config.json` (mlx-lm loads them), for LoRA also
    `lora_weights.npz` and `config.json`, the settings as `sft.yaml`, a log of every update, `curve.png`, and under
    `checkpoints` the state that the same settings resume from, bit for bit. With a validation loss the weights are the
    best ones, otherwise the last ones.

    Args:
        config: the settings.
        on_step: called after each update with its step, and with the validation loss if one was computed; an exception
            from it stops the training, and on `KeyboardInterrupt` the state is saved.
        on_note: called with each line of the header.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: the data, the adapter or a setting does not fit the model, or the folder has other settings.
        IndexError: there is no such layer.
        FloatingPointError: the loss is not finite, or has blown up; the last good state is kept, and its weights are in
            the output folder.

    Example:
        >>> from lazarus_probe import Subject
        >>> from lazarus_probe.training import SftConfig, train_sft
        >>> config = SftConfig(model="organism", data="facts.jsonl", output="adapter", max_steps=2, lora_rank=4)
        >>> result = train_sft(config)
        >>> result.steps, result.finished
        (2, 'all steps are done')
        >>> Subject.load("organism", adapter="adapter").name
        'organism+adapter'
    """
    return run(prepare(config, on_note), on_step)


def run(training: Training, on_step: OnStep = lambda _step, _validation: None) -> SftResult:
    """Run the training that `prepare` returned; see `train_sft`."""
    config = training.config
    with random_state(config.seed), _checkpointed(training):
        optimizer = optimizer_for(training.optimisation)
        optimizer.init(training.subject.model.trainable_parameters())
        progress = _resumed(training, optimizer)
        try:
            progress = _train(training, optimizer, progress, on_step)
        except FloatingPointError as error:
            _stopped(training, optimizer, error)
            raise
        _write(training, progress)
    return SftResult(
        config.output,
        progress.step,
        progress.finished,
        progress.best,
        progress.best_step,
        tuple(training.skipped),
    )


def resumes_from(training: Training) -> int:
    """The update that a training would resume after; 0 for a new training."""
    return state_step(training.state)


def _resumed(training: Training, optimizer: Any) -> Progress:
    """Load the saved state into model and optimizer, if there is one."""
    _, extra = load_state(training.state, training.subject.model, optimizer, training.settings)
    return Progress(**extra)


def _keep(training: Training, optimizer: Any, progress: Progress) -> None:
    save_state(
        training.state,
        training.subject.model,
        optimizer,
        progress.step,
        training.settings,
        asdict(progress),
    )


def _train(training: Training, optimizer: Any, progress: Progress, on_step: OnStep) -> Progress:
    """Make the remaining steps; the state is saved at intervals, at the end, and when the training is stopped."""
    if progress.finished:
        return progress
    config, watch = training.config, _Watch(training.subject.anatomy.vocab_size)
    micro_batches = batches(
        training.samples, config.batch_size, config.seed, progress.step, config.accumulate
    )
    ahead = steps(
        training.subject.model,
        training.loss,
        micro_batches,
        training.optimisation,
        optimizer,
        progress.step,
        group=training.subject.group,
    )
    with Log(_log_file(training), progress.step) as log:
        try:
            for step in ahead:
                good = watch(step)
                progress, validation = _after(training, progress, step)
                log.write(_row(step, validation))
                if progress.finished or (good and step.step % config.checkpoint_interval == 0):
                    log.sync()
                    _keep(training, optimizer, progress)
                with _kept_if_interrupted(training, optimizer, progress):
                    on_step(step, validation)
                if progress.finished:
                    break
        except Diverged:  # the weights are those of the previous step
            if progress.step:
                _keep(training, optimizer, progress)
            raise
    return progress


@contextmanager
def _kept_if_interrupted(training: Training, optimizer: Any, progress: Progress) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        _keep(training, optimizer, progress)
        raise


def _log_file(training: Training) -> Path:
    return training.config.output / f"log.{training.config.log_format}"


def _row(step: Step, validation: float | None) -> dict[str, Any]:
    return {
        "step": step.step,
        "loss": step.loss,
        **(step.parts if len(step.parts) > 1 else {}),
        "validation": validation,
        "learning_rate": step.learning_rate,
        "grad_norm": step.grad_norm,
        "tokens": step.tokens,
    }


def _after(training: Training, progress: Progress, step: Step) -> tuple[Progress, float | None]:
    """Progress after a step, with the validation loss if one is due; the best weights so far are kept."""
    config, last = training.config, step.step == training.optimisation.steps
    progress = replace(progress, step=step.step, finished="all steps are done" if last else "")
    if not training.held_out or not (last or step.step % config.eval_interval == 0):
        return progress, None
    validation = _validated(training)
    if progress.best is None or validation < progress.best:
        _save(training, training.state / BEST, step.step)
        return replace(progress, best=validation, best_step=step.step, worse=0), validation
    progress = replace(progress, worse=progress.worse + 1)
    if config.patience is not None and progress.worse >= config.patience and not last:
        reason = f"stopped early: no lower validation loss since step {progress.best_step}"
        progress = replace(progress, finished=reason)
    return progress, validation


def _validated(training: Training) -> float:
    """The loss over all held-out samples, as of one large batch, in nats."""
    by_length = sorted(training.held_out, key=lambda sample: len(sample.tokens))
    size = training.config.batch_size
    parts = [by_length[start : start + size] for start in range(0, len(by_length), size)]

    def share(batch: Batch) -> float:
        total: Any = training.loss(*batch)[0].item()
        return float(total)

    return math.fsum(dealt(training.subject, collate(parts), share))


class _Watch:
    """Stops a training whose loss has blown up while still finite.

    That is a mean over 20 steps of twice the lowest one, and 1.5 times the loss of a uniform guess over the vocabulary.
    """

    def __init__(self, vocab_size: int) -> None:
        self.guess, self.lowest = math.log(vocab_size), math.inf
        self.last: deque[float] = deque(maxlen=WINDOW)

    @property
    def limit(self) -> float:
        return max(2 * self.lowest, 1.5 * self.guess)

    def __call__(self, step: Step) -> bool:
        """Whether the loss of a step is acceptable."""
        self.last.append(step.loss)
        mean = sum(self.last) / len(self.last)
        self.lowest = min(self.lowest, mean)
        if len(self.last) == WINDOW and mean > self.limit:
            raise FloatingPointError(
                f"the loss has risen from {self.lowest:.3g} to {mean:.3g} at step {step.step}; lower the learning rate"
            )
        return step.loss <= self.limit


def _stopped(training: Training, optimizer: Any, error: FloatingPointError) -> None:
    """Write the weights of the last good state, if there is one, and raise with their location."""
    progress = _resumed(training, optimizer)
    if progress.step:
        _write(training, progress)
        saved = (
            f"the weights after step {progress.best_step or progress.step} are in {training.config.output}"
        )
        raise FloatingPointError(f"{error}; {saved}") from error


def _write(training: Training, progress: Progress) -> None:
    """Write the adapter with the best or the last weights, its settings and the loss curve."""
    model, folder = training.subject.model, training.config.output
    if progress.best_step is not None:
        best: Any = read_by_the_first(lambda: mx.load(str(training.state / BEST / MLX_WEIGHTS)))
        model.load_weights(list(best.items()), strict=False)
    _save(training, folder, progress.best_step or progress.step)
    write_aside(folder / SETTINGS, _as_yaml(training))
    if is_writing():
        draw_curve(_log_file(training), folder / "curve.png")


def _save(training: Training, folder: Path, step: int) -> None:
    """Write the current adapter, in both formats if it is LoRA."""
    config, subject = training.config, training.subject
    extra: dict[str, Any] = {"steps": step, "freeze_layers": config.freeze_layers}
    if config.classifies:
        extra |= {"classifier_layer": training.layer, "cls_weight": config.classifies.weight}
    save_adapter(subject, folder, base=config.model, extra=extra)
    if config.use_lora:
        save_lora_weights(subject, folder, {"model": config.model, **extra})


def _as_yaml(training: Training) -> str:
    """All settings, including those taken from the adapter, as a file for `--config`."""
    settings = training.config.model_dump(mode="json")
    if training.config.use_lora:
        layer = adapted(training.subject.anatomy)[0].module
        settings |= {"lora_rank": rank_of(layer), "lora_scale": layer.scale}
    return yaml.safe_dump(settings, sort_keys=False)


@contextmanager
def _checkpointed(training: Training) -> Iterator[None]:
    with grad_checkpointed(training.subject) if training.config.grad_checkpoint else nullcontext():
        yield
