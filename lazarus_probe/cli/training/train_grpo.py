"""`lazarus train grpo`: train a model on the rewards of its own answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from lazarus_probe.cli.output import show_json, text_aside
from lazarus_probe.cli.progress import losses_shown
from lazarus_probe.cli.training.settings_options import settings_command
from lazarus_probe.training.grpo.config import GrpoConfig

if TYPE_CHECKING:
    from lazarus_probe.training.grpo.run import GrpoResult, GrpoTraining
    from lazarus_probe.training.grpo.train import GrpoStep

COLUMNS = ("Loss", "Reward", "KL", "Informative")


def train_grpo(settings: GrpoConfig, as_json: bool) -> None:
    """Train a model on the rewards of its own answers (GRPO); the same command resumes an interrupted training."""
    from lazarus_probe.training.grpo.run import prepare

    with text_aside(as_json):
        training = prepare(settings, typer.echo)
        result = _trained(training)
        _report(training, result)
    show_json({"saved": result.saved, "gains": [gain.as_data() for gain in result.gains]}, as_json)


grpo = settings_command(
    GrpoConfig,
    train_grpo,
    defaults={"prompts": "the reward's", "operations": "all four", "use_lora": "LoRA"},
    metavars={"reward": "arithmetic|FILE.py"},
)


def _trained(training: GrpoTraining) -> GrpoResult:
    """Train, with a table; say how to go on if that is interrupted."""
    from lazarus_probe.training.grpo.run import run

    total, start = training.config.max_steps, training.start
    if start:
        typer.echo(f"resuming after step {start} of {total} in {training.config.output}")
    try:
        with losses_shown(total, COLUMNS, start=start, every=training.config.log_interval) as show:

            def show_step(step: GrpoStep) -> None:
                show(step.step, step.loss, step.reward, step.kl, step.informative)

            return run(training, show_step)
    except KeyboardInterrupt:
        typer.echo(f"interrupted: the same command resumes after step {training.start} of {total}", err=True)
        raise


def _report(training: GrpoTraining, result: GrpoResult) -> None:
    for gain in result.gains:
        typer.echo(f"Held-out reward, {gain}")
    what = "Adapter" if training.config.use_lora else "Model"
    typer.echo(f"{what} saved to: {result.saved}")
