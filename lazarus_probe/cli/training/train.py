"""`lazarus train`: `sft` fine-tunes a model on JSON lines; `grpo`, on rewards, is in `train_grpo`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.output import show_json, text_aside
from lazarus_probe.cli.progress import losses_shown
from lazarus_probe.cli.training.settings_options import settings_command
from lazarus_probe.cli.training.train_grpo import grpo
from lazarus_probe.training.sft.config import SftConfig

if TYPE_CHECKING:
    from lazarus_probe.training.loop import Step
    from lazarus_probe.training.sft.train import SftResult, Training

train = typer.Typer(
    cls=lazy_group(),
    rich_markup_mode=None,
    help="Train a model, with or without LoRA: on responses (sft) or on rewards (grpo).",
)


def train_sft(settings: SftConfig, as_json: bool) -> None:
    """Fine-tune a model; the same command resumes an interrupted training."""
    from lazarus_probe.training.sft.train import prepare

    with text_aside(as_json):
        result = _trained(prepare(settings, typer.echo))
        _report(result)
    show_json(asdict(result), as_json)


sft = settings_command(
    SftConfig,
    train_sft,
    defaults={
        "max_length": "the model's context length",
        "use_lora": "LoRA",
        "lora_rank": "16, or the adapter's",
        "lora_scale": "2, or the adapter's",
        "intermediate_loss": "",
        "intermediate_loss_layer": "55% of the depth",
    },
    metavars={"intermediate_loss_targets": "LABEL:WORD,..."},
)


def _trained(training: Training) -> SftResult:
    """Train, with the table of losses; say how to go on if that is interrupted."""
    from lazarus_probe.training.sft.train import resumes_from, run

    settings, classifies = training.config, training.config.classifies is not None
    columns = ("Total", "Cls Loss", "Ans Loss") if classifies else ("Loss",)
    start, total = resumes_from(training), training.optimisation.steps
    try:
        with losses_shown(total, columns, start=start, every=settings.log_interval) as show:

            def show_step(step: Step, validation: float | None) -> None:
                if validation is not None:
                    typer.echo(f"{step.step:>6}  validation {validation:.4f}")
                parts = (step.parts["classification"], step.parts["answer"]) if classifies else ()
                show(step.step, step.loss, *parts)

            return run(training, show_step)
    except KeyboardInterrupt:
        after = resumes_from(training)
        typer.echo(f"interrupted: the same command resumes after step {after} of {total}", err=True)
        raise


def _report(result: SftResult) -> None:
    if result.best is not None:
        typer.echo(f"Best validation loss: {result.best:.4f}, after step {result.best_step}")
    if result.skipped:
        typer.echo(f"Skipped {len(result.skipped)} bad lines; the first: {result.skipped[0]}", err=True)
    typer.echo(f"{result.finished[:1].upper()}{result.finished[1:]} ({result.steps})")
    typer.echo(f"Adapter saved to: {result.folder}")


train.command("sft")(sft)
train.command("grpo")(grpo)
