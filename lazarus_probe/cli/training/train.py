"""`lazarus train`: `sft` fine-tunes a model on JSON lines; `grpo`, on rewards, is in `train_grpo`."""

# ruff: noqa: ARG001 - the options are read from the context, which says which were given

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import show_json, text_aside
from lazarus_probe.cli.progress import losses_shown
from lazarus_probe.cli.training.train_grpo import grpo

if TYPE_CHECKING:
    from lazarus_probe.training.loop import Step
    from lazarus_probe.training.sft.train import SftResult, Training

train = typer.Typer(
    cls=lazy_group(),
    rich_markup_mode=None,
    help="Train a model, with or without LoRA: on responses (sft) or on rewards (grpo).",
)

# Options that are keys of a section of the YAML file.
SECTION = "intermediate_loss"


@train.command()
def sft(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML file with these options as keys, `_` for `-`; the command line overrides it."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Bundled model name, folder or Hub id. Required, here or in --config."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="JSON lines: prompt and response, or messages. Required, here or in --config."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the adapter, log and training state.",
            show_default="checkpoints/sft",
        ),
    ] = None,
    adapter: Annotated[Path | None, typer.Option(help="Adapter to continue training.")] = None,
    eval_data: Annotated[Path | None, typer.Option(help="JSON lines for the validation loss.")] = None,
    eval_share: Annotated[
        float | None, typer.Option(help="Fraction of the prompts to validate on instead.", show_default="0")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Training epochs.", show_default="3")] = None,
    max_steps: Annotated[int | None, typer.Option(help="Maximum number of optimiser steps.")] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Examples per forward pass.", show_default="4")
    ] = None,
    accumulate: Annotated[
        int | None, typer.Option(help="Gradient accumulation steps.", show_default="1")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of AdamW.", show_default="1e-5")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Warm-up steps to the peak learning rate.", show_default="0")
    ] = None,
    max_length: Annotated[
        int | None,
        typer.Option(help="Maximum tokens per example.", show_default="the model's context length"),
    ] = None,
    mask_prompt: Annotated[
        bool | None,
        typer.Option(
            "--mask-prompt/--no-mask-prompt", help="Compute the loss on responses only.", show_default="yes"
        ),
    ] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the model's chat template.", show_default="no"),
    ] = None,
    skip_bad: Annotated[
        bool | None, typer.Option("--skip-bad/--no-skip-bad", help="Skip invalid lines.", show_default="no")
    ] = None,
    use_lora: Annotated[
        bool | None,
        typer.Option(
            "--use-lora/--no-use-lora", help="Train LoRA, or the weights themselves.", show_default="LoRA"
        ),
    ] = None,
    lora_rank: Annotated[
        int | None, typer.Option(help="LoRA rank.", show_default="16, or the adapter's")
    ] = None,
    lora_scale: Annotated[
        float | None,
        typer.Option(help="LoRA scale, a factor on the update.", show_default="2, or the adapter's"),
    ] = None,
    lora_dropout: Annotated[float | None, typer.Option(help="LoRA dropout.", show_default="0")] = None,
    lora_targets: Annotated[
        str | None, typer.Option(help="Projections to apply LoRA to.", show_default="v_proj,o_proj")
    ] = None,
    freeze_layers: Annotated[str | None, typer.Option(help="Layers not to train, as in 0-12,15.")] = None,
    grad_checkpoint: Annotated[
        bool | None,
        typer.Option(
            "--grad-checkpoint/--no-grad-checkpoint",
            help="Gradient checkpointing: less memory, more compute.",
            show_default="no",
        ),
    ] = None,
    log_interval: Annotated[
        int | None, typer.Option(help="Optimiser steps per row of the table.", show_default="10")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="Log format: csv or jsonl.", show_default="csv")
    ] = None,
    eval_interval: Annotated[
        int | None, typer.Option(help="Optimiser steps between validations.", show_default="100")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after this many validations without a lower loss.")
    ] = None,
    checkpoint_interval: Annotated[
        int | None, typer.Option(help="Optimiser steps between checkpoints.", show_default="100")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Random seed of data order and LoRA.", show_default="0")
    ] = None,
    intermediate_loss: Annotated[
        bool | None,
        typer.Option(
            "--intermediate-loss/--no-intermediate-loss", help="Also train a middle layer to name the class."
        ),
    ] = None,
    intermediate_loss_layer: Annotated[
        int | None,
        typer.Option(help="Layer whose logit lens should name the class.", show_default="55% of the depth"),
    ] = None,
    intermediate_loss_weight: Annotated[
        float | None,
        typer.Option(help="Weight of the class loss; the answer loss has the rest.", show_default="0.4"),
    ] = None,
    intermediate_loss_targets: Annotated[
        str | None, typer.Option(metavar="LABEL:WORD,...", help="Class word of each label.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Fine-tune a model; the same command resumes an interrupted training."""
    from lazarus_probe.training.sft.config import SftConfig, read_settings
    from lazarus_probe.training.sft.train import prepare

    settings = read_settings(SftConfig, config, dict(_given(ctx.params)))
    with text_aside(as_json):
        result = _trained(prepare(settings, typer.echo))
        _report(result)
    show_json(asdict(result), as_json)


def _given(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The options that were given, by the key that they have in a file."""
    for name, value in parameters.items():
        if value is None or name in ("config", "as_json"):
            continue
        if name == SECTION:
            yield f"{SECTION}.enabled", value
        elif name == f"{SECTION}_targets":
            yield f"{SECTION}.targets", _words(value)
        else:
            yield name.replace(f"{SECTION}_", f"{SECTION}."), value


def _words(text: str) -> dict[str, str]:
    pairs = [[part.strip() for part in pair.split(":")] for pair in text.split(",")]
    if not all(len(pair) == 2 and all(pair) for pair in pairs):
        raise ValueError(f"--intermediate-loss-targets is {text!r}: write label:word,label:word")
    return {pair[0]: pair[1] for pair in pairs}


def _trained(training: Training) -> SftResult:
    """Train, with the table of losses; say how to go on if that is interrupted."""
    from lazarus_probe.training.sft.train import resumes_from, run

    settings, classifies = training.config, training.config.classifies is not None
    columns = ("Total", "Cls Loss", "Ans Loss") if classifies else ("Loss",)
    start, total = resumes_from(training), training.optimisation.steps
    try:
        with losses_shown(total, columns, start=start, every=settings.log_interval) as show:

            def each(step: Step, validation: float | None) -> None:
                if validation is not None:
                    typer.echo(f"{step.step:>6}  validation {validation:.4f}")
                parts = (step.parts["classification"], step.parts["answer"]) if classifies else ()
                show(step.step, step.loss, *parts)

            return run(training, each)
    except KeyboardInterrupt:
        after = resumes_from(training)
        typer.echo(f"interrupted: the same command goes on after step {after} of {total}", err=True)
        raise


def _report(result: SftResult) -> None:
    if result.best is not None:
        typer.echo(f"Best validation loss: {result.best:.4f}, after step {result.best_step}")
    if result.skipped:
        typer.echo(f"Skipped {len(result.skipped)} bad lines; the first: {result.skipped[0]}", err=True)
    typer.echo(f"{result.finished[:1].upper()}{result.finished[1:]} ({result.steps})")
    typer.echo(f"Adapter saved to: {result.folder}")


train.command()(grpo)
