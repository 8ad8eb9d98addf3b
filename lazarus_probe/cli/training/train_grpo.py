"""`lazarus train grpo`: train a model on the rewards of its own answers."""

# ruff: noqa: ARG001 - the options are read from the context, which says which were given

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import show_json, text_aside
from lazarus_probe.cli.progress import losses_shown

if TYPE_CHECKING:
    from lazarus_probe.training.grpo.run import GrpoResult, GrpoTraining
    from lazarus_probe.training.grpo.train import GrpoStep

COLUMNS = ("Loss", "Reward", "KL", "Informative")


def grpo(
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
    prompts: Annotated[
        Path | None,
        typer.Option("--prompts", "--data", help="JSON lines, one prompt each.", show_default="the reward's"),
    ] = None,
    reward: Annotated[
        str | None,
        typer.Option(
            metavar="arithmetic|FILE.py",
            help="Reward function that scores an answer.",
            show_default="arithmetic",
        ),
    ] = None,
    operations: Annotated[
        str | None,
        typer.Option(help="Operations of the bundled prompts, as in add,subtract.", show_default="all four"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Folder for the result, log and training state.",
            show_default="checkpoints/grpo",
        ),
    ] = None,
    max_steps: Annotated[
        int | None, typer.Option(help="Training steps; each samples new answers.", show_default="200")
    ] = None,
    updates: Annotated[
        int | None, typer.Option(help="Weight updates per step, on the same answers.", show_default="2")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Prompts per step.", show_default="16")] = None,
    group_size: Annotated[int | None, typer.Option(help="Answers per prompt.", show_default="8")] = None,
    max_tokens: Annotated[
        int | None, typer.Option(help="Maximum tokens of an answer.", show_default="32")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Sampling temperature.", show_default="1")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Peak learning rate of AdamW.", show_default="1e-5")
    ] = None,
    final_learning_rate: Annotated[
        float | None, typer.Option(help="Learning rate at the last step.", show_default="0")
    ] = None,
    warmup: Annotated[
        int | None, typer.Option(help="Warm-up steps to the peak learning rate.", show_default="0")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Weight decay of AdamW.", show_default="0")
    ] = None,
    clip_norm: Annotated[float | None, typer.Option(help="Maximum gradient norm.", show_default="1")] = None,
    kl: Annotated[
        float | None,
        typer.Option(help="Weight of the KL divergence from the initial model.", show_default="0.02"),
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option(help="Clipping range of the probability ratio, around 1.", show_default="0.2"),
    ] = None,
    standardise: Annotated[
        bool | None,
        typer.Option(
            "--standardise/--no-standardise",
            help="Divide advantages by their group's standard deviation.",
            show_default="no",
        ),
    ] = None,
    use_lora: Annotated[
        bool | None,
        typer.Option(
            "--use-lora/--no-use-lora", help="Train LoRA, or the weights themselves.", show_default="LoRA"
        ),
    ] = None,
    lora_rank: Annotated[int | None, typer.Option(help="LoRA rank.", show_default="16")] = None,
    lora_scale: Annotated[
        float | None, typer.Option(help="LoRA scale, a factor on the update.", show_default="2")
    ] = None,
    lora_targets: Annotated[
        str | None, typer.Option(help="Projections to apply LoRA to.", show_default="v_proj,o_proj")
    ] = None,
    freeze_layers: Annotated[str | None, typer.Option(help="Layers not to train, as in 0-12,15.")] = None,
    chat: Annotated[
        bool | None,
        typer.Option("--chat/--no-chat", help="Use the model's chat template.", show_default="no"),
    ] = None,
    evaluate: Annotated[
        int | None,
        typer.Option(
            help="Held-out questions per kind, before and after training; 0 for none.", show_default="200"
        ),
    ] = None,
    log_interval: Annotated[
        int | None, typer.Option(help="Steps per row of the table.", show_default="10")
    ] = None,
    log_format: Annotated[
        str | None, typer.Option(help="Log format: csv or jsonl.", show_default="csv")
    ] = None,
    checkpoint_interval: Annotated[
        int | None, typer.Option(help="Steps between checkpoints.", show_default="50")
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Random seed of prompts, samples and LoRA initialisation.", show_default="0"),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a model on the rewards of its own answers (GRPO); the same command resumes an interrupted training."""
    from lazarus_probe.training.grpo.config import GrpoConfig
    from lazarus_probe.training.grpo.run import prepare
    from lazarus_probe.training.sft.config import read_settings

    given = {
        name: value
        for name, value in ctx.params.items()
        if value is not None and name not in ("config", "as_json")
    }
    settings = read_settings(GrpoConfig, config, given)
    with text_aside(as_json):
        training = prepare(settings, typer.echo)
        result = _trained(training)
        _report(training, result)
    show_json({"saved": result.saved, "gains": [gain.as_data() for gain in result.gains]}, as_json)


def _trained(training: GrpoTraining) -> GrpoResult:
    """Train, with a table; say how to go on if that is interrupted."""
    from lazarus_probe.training.grpo.run import run

    total, start = training.config.max_steps, training.start
    if start:
        typer.echo(f"going on after step {start} of {total} in {training.config.output}")
    try:
        with losses_shown(total, COLUMNS, start=start, every=training.config.log_interval) as show:

            def each(step: GrpoStep) -> None:
                show(step.step, step.loss, step.reward, step.kl, step.informative)

            return run(training, each)
    except KeyboardInterrupt:
        typer.echo(f"interrupted: the same command goes on after step {training.start} of {total}", err=True)
        raise


def _report(training: GrpoTraining, result: GrpoResult) -> None:
    for gain in result.gains:
        typer.echo(f"Held-out reward, {gain}")
    what = "Adapter" if training.config.use_lora else "Model"
    typer.echo(f"{what} saved to: {result.saved}")
