"""`lazarus organism`: the bundled models, retrained, and scored on what they know."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import Adapter, AsJson, Output
from lazarus_probe.cli.output import deliver, print_boxed, show_json, text_aside
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.cli.progress import bar, interrupts_held
from lazarus_probe.files.paths import real_path
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.plain import json_text
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.pretraining.evaluate import Score
    from lazarus_probe.training.pretraining.recipe import Recipe

organism = typer.Typer(
    cls=lazy_group(),
    rich_markup_mode=None,
    help="Retrain the bundled models, and score what they know.",
)


@organism.command()
def train(
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe, a YAML file.", show_default="the bundled models' own")
    ] = None,
    output: Annotated[Path, typer.Option(help="Folder for the models and the log.")] = Path("organism_run"),
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Total training steps, instead of the recipe's; the schedule ends there."),
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            metavar="STEPS",
            help="Steps whose models to keep as well, as in 100,200,400: versions to test claims on.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train the organism from scratch; the same command resumes an interrupted run from its last checkpoint."""
    from lazarus_probe.training.curve import draw_curve
    from lazarus_probe.training.pretraining.recipe import RECIPE, read_recipe
    from lazarus_probe.training.state import state_step

    settings, kept = read_recipe(recipe or RECIPE), _steps(keep)
    if steps is not None:
        settings = settings.model_copy(update={"steps": steps})
    start, curve = state_step(output), output / "curve.png"
    if 0 < start < settings.steps:
        typer.echo(f"resuming after step {start} of {settings.steps} in {output}", err=as_json)
    folder = output / "organism"
    # What was killed between its last step and its curve lacks the curve alone.
    if not (start == settings.steps and folder.exists() and not curve.exists()):
        folder = _train_with_progress(settings, output, start, kept)
    draw_curve(output / "log.csv", curve)
    deliver({"model": folder, "curve": curve}, f"trained: {folder}\nloss curve: {curve}", as_json=as_json)


@organism.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="Bundled model name, folder or Hub id.")] = "organism",
    output: Output = None,
    card: Annotated[
        bool, typer.Option("--card", help="Write the model card into the model's folder.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of prompts per kind.")] = None,
    adapter: Adapter = None,
    as_json: AsJson = False,
) -> None:
    """Score greedy answers on trained and held-out facts and phrasings."""
    from lazarus_probe.subject.subject import Subject

    check_output(output)
    if adapter is not None and card:
        raise ValueError("--card is about a model as it lies in its folder; leave out --adapter")
    subject = Subject.load(model, adapter)
    settings = _recipe_of(subject) if card else None
    with text_aside(as_json):
        rows = [score.as_row() for score in _scores(subject, limit)]
    result = {"model": subject.name, "fingerprint": subject.fingerprint, "scores": rows}
    show_json(result, as_json)
    if output is not None:
        write_whole(output, json_text(result) + "\n")
        typer.echo(f"written: {output}", err=as_json)
    if settings is not None and subject.path is not None:
        from lazarus_probe.organisms.card import model_card

        text = model_card(subject.name, settings.model_dump(), rows, limit, _rewards_of(subject.path))
        write_whole(subject.path / "README.md", text)
        typer.echo(f"written: {subject.path / 'README.md'}", err=as_json)


def _recipe_of(subject: Subject) -> Recipe:
    """The recipe next to a model's folder, checked against the model as far as it shows there."""
    from lazarus_probe.training.pretraining.recipe import RECIPE, read_recipe

    if subject.path is None:
        raise ValueError(f"{subject.name} has no folder for a card; give a trained model")
    file = real_path(subject.path).parent / RECIPE.name
    if not file.is_file():
        raise ValueError(f"{file} is missing: the card takes from it how the model was trained")
    recipe = read_recipe(file)
    for name, value in recipe.model.model_dump().items():
        actual = subject.config.get(name)
        if actual != value:
            raise ValueError(
                f"{file} is not how {subject.name} was trained: its {name} is {actual}, not {value}"
            )
    return recipe


def _rewards_of(folder: Path) -> dict[str, object] | None:
    """How the model in a folder was trained on rewards, if a file there says that it was."""
    from lazarus_probe.training.grpo.config import SETTINGS, GrpoConfig
    from lazarus_probe.training.settings import read_settings

    file = folder / SETTINGS
    return read_settings(GrpoConfig, file).model_dump() if file.is_file() else None


def _steps(text: str | None) -> frozenset[int]:
    try:
        return frozenset(int(part) for part in (text or "").split(",") if part.strip())
    except ValueError:
        raise ValueError(f"--keep {text!r}: give steps with commas between them, as in 100,200,400") from None


def _train_with_progress(recipe: Recipe, output: Path, start: int, keep: frozenset[int]) -> Path:
    from lazarus_probe.training.pretraining.pretrain import train as pretrain
    from lazarus_probe.training.state import state_step

    with bar(recipe.steps, start) as show_bar:

        def show(step: int, loss: float) -> None:
            show_bar(step, loss)
            check()

        try:
            with interrupts_held() as check:
                return pretrain(recipe, output, show, keep)
        except KeyboardInterrupt:
            typer.echo(f"interrupted: the same command resumes after step {state_step(output)}", err=True)
            raise


def _scores(subject: Subject, limit: int | None) -> list[Score]:
    from lazarus_probe.training.pretraining.evaluate import evaluate as score_all

    scores: list[Score] = []

    def add(score: Score) -> None:
        scores.append(score)
        typer.echo(f"{score.task}: {score.subset}", err=True)

    score_all(subject, limit=limit, on_score=add)
    rows = [
        (
            score.task,
            score.subset,
            f"{score.correct} / {score.n}",
            score.accuracy,
            f"{score.interval.low:.3f} to {score.interval.high:.3f}",
        )
        for score in scores
    ]
    columns = ("task", "prompts", "right", Column("accuracy", ".3f"), "95% interval")
    print_boxed(Table(columns, rows, subject.name))
    return scores
