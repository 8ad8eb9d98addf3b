"""`lazarus experiment`: whole studies of a model, each resumable and ending in verdicts."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import AsJson, Model
from lazarus_probe.cli.output import print_boxed, show_json, text_aside
from lazarus_probe.cli.progress import bar, interrupts_held, losses_shown
from lazarus_probe.cli.virtual_expert import virtual_expert
from lazarus_probe.files.plain_json import read_json
from lazarus_probe.spelling import one_of
from lazarus_probe.tables import Table

if TYPE_CHECKING:
    from lazarus_probe.experiments.classifier_emergence.arms import Run
    from lazarus_probe.experiments.classifier_emergence.study import Study
    from lazarus_probe.experiments.classifier_emergence.verdicts import Verdicts
    from lazarus_probe.training.loop import Step

experiment = typer.Typer(
    cls=lazy_group(), rich_markup_mode=None, help="Run a complete study of a model, ending in verdicts."
)
emergence = typer.Typer(
    cls=lazy_group(),
    rich_markup_mode=None,
    help="Test whether training makes middle layers name the class: data, baseline, two phases, verdicts.",
)

Task = Annotated[str, typer.Option(help="Classification task: arithmetic, sentiment or code.")]
Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of the study.")]
Size = Annotated[str, typer.Option(help="full, or smoke for a quick trial.")]
Seeds = Annotated[int, typer.Option(min=2, help="Training runs per arm; claims need 5.")]
Workers = Annotated[int, typer.Option(min=1, help="Parallel training runs, one thread each.")]
FOLDER = Path("classifier_emergence")
WIDTH = 160  # where standard output is not a terminal


@experiment.callback()
def group() -> None:
    """Nothing by itself: a study is a command."""
    from lazarus_probe.subject.one_run import require_one_process

    require_one_process("a study")


@emergence.callback()
def phases() -> None:
    """Nothing by itself: a phase is a command."""


@emergence.command()
def generate(
    model: Model,
    task: Task = "arithmetic",
    output: Output = FOLDER,
    size: Size = "full",
    as_json: AsJson = False,
) -> None:
    """Write the training data and the held-out items."""
    with text_aside(as_json):
        result = _generate(_open(model, task, output, size))
    show_json(result, as_json)


@emergence.command()
def baseline(
    model: Model,
    task: Task = "arithmetic",
    output: Output = FOLDER,
    size: Size = "full",
    as_json: AsJson = False,
) -> None:
    """Measure the model before training: a probe and the logit lens after every layer."""
    _phase(model, task, output, size, "baseline", _baseline, as_json)


@emergence.command()
def phase1(
    model: Model,
    task: Task = "arithmetic",
    output: Output = FOLDER,
    size: Size = "full",
    as_json: AsJson = False,
) -> None:
    """Train V and O by dual reward, as configured in configs/dual_reward_phase1.yaml."""
    _phase(model, task, output, size, "phase1", partial(_train, phase="phase1"), as_json)


@emergence.command()
def phase2(
    model: Model,
    task: Task = "arithmetic",
    output: Output = FOLDER,
    size: Size = "full",
    as_json: AsJson = False,
) -> None:
    """Freeze the classifier and train above it, as configured in configs/routing_phase2.yaml."""
    _phase(model, task, output, size, "phase2", partial(_train, phase="phase2"), as_json)


@emergence.command()
def verify(
    model: Model,
    task: Task = "arithmetic",
    output: Output = FOLDER,
    size: Size = "full",
    seeds: Seeds = 5,
    workers: Workers = 2,
    as_json: AsJson = False,
) -> None:
    """Train the comparison arms that are not trained yet, and judge the claims."""
    _phase(model, task, output, size, "verify", partial(_verify, seeds=seeds, workers=workers), as_json)


@emergence.command("all")
def everything(
    model: Model,
    task: Task = "arithmetic",
    output: Output = FOLDER,
    size: Size = "full",
    seeds: Seeds = 5,
    workers: Workers = 2,
    as_json: AsJson = False,
) -> None:
    """Run every phase in order, skipping those already done."""
    _phase(model, task, output, size, "verify", partial(_everything, seeds=seeds, workers=workers), as_json)


def _everything(study: Study, seeds: int, workers: int) -> None:
    from lazarus_probe.experiments.classifier_emergence.verdicts import precondition

    _generate(study)
    _baseline(study)
    if precondition(study)[0]:
        _train(study, "phase1")
        _train(study, "phase2")
    _verify(study, seeds, workers)


def _phase(
    model: str,
    task: str,
    output: Path,
    size: str,
    phase: str,
    work: Callable[[Study], None],
    as_json: bool,
) -> None:
    """Run a phase, and print its result file with --json."""
    with text_aside(as_json):
        study = _open(model, task, output, size)
        work(study)
    if as_json:
        show_json(read_json(study.result(phase)), as_json)


def _open(model: str, task: str, output: Path, size: str) -> Study:
    from lazarus_probe.experiments.classifier_emergence.material import SIZES
    from lazarus_probe.experiments.classifier_emergence.study import Study
    from lazarus_probe.experiments.study_tasks import TASKS

    study = Study.open(model, _chosen("--task", TASKS, task), _chosen("--size", SIZES, size), output)
    typer.echo(
        f"study of {study.subject.name}, {task}, layer {study.layer} of {study.subject.num_layers}, in {output}"
    )
    return study


def _chosen(option: str, choices: dict[str, Any], name: str) -> Any:
    if name not in choices:
        raise ValueError(f"{option} {name}: {one_of(name, choices)}")
    return choices[name]


def _generate(study: Study) -> dict[str, Any]:
    from lazarus_probe.experiments.classifier_emergence import phases

    ran = phases.generate(study)
    trained, held_out = len(study.material.trained), len(study.material.held_out)
    _report("generate", ran, f"{trained} items to train on in {study.data}, {held_out} held out")
    return {"data": str(study.data), "trained": trained, "held_out": held_out}


def _baseline(study: Study) -> None:
    from lazarus_probe.experiments.classifier_emergence import phases
    from lazarus_probe.experiments.classifier_emergence.verdicts import precondition

    with _stoppable("baseline"):
        ran = phases.baseline(study)
    applies, answers = precondition(study)
    _report("baseline", ran, answers if applies else f"{answers}: the claims are not about this model")


def _train(study: Study, phase: str) -> None:
    """One of the published trainings, with its table of losses."""
    from lazarus_probe.experiments.classifier_emergence import phases
    from lazarus_probe.training.sft.train import resumes_from

    training = phases.prepare(study, phase, typer.echo)
    if training is not None:
        both = training.config.classifies is not None
        columns = ("Total", "Cls Loss", "Ans Loss") if both else ("Loss",)
        total, start = training.optimisation.steps, resumes_from(training)
        with _stoppable(phase), losses_shown(total, columns, start=start) as show:

            def on_step(step: Step, _validation: float | None) -> None:
                parts = (step.parts["classification"], step.parts["answer"]) if both else ()
                show(step.step, step.loss, *parts)

            phases.train(study, phase, training, on_step)
    _report(phase, training is not None, f"results in {study.result(phase)}")


def _verify(study: Study, seeds: int, workers: int) -> None:
    from lazarus_probe.experiments.classifier_emergence.comparison import compare, missing
    from lazarus_probe.experiments.classifier_emergence.verdicts import precondition
    from lazarus_probe.experiments.classifier_emergence.verdicts import verify as judge_all

    numbers = range(seeds)
    if precondition(study)[0] and (tasks := missing(study, numbers)):
        typer.echo(f"verify: {len(tasks)} trainings, {workers} at a time")
        with _stoppable("verify"), bar(len(tasks), label="arms") as show_bar, _held(workers) as check:
            finished = iter(range(1, len(tasks) + 1))

            def on_run(run: Run) -> None:
                show_bar(next(finished), run.losses[-1] if run.losses else 0.0)
                typer.echo(_line(run))

            compare(study, numbers, workers, on_run, lambda _step, _loss: check())
    _print(judge_all(study, numbers))
    typer.echo(f"written: {study.result('verify')}")


@contextmanager
def _held(workers: int) -> Iterator[Callable[[], None]]:
    """Hold an interrupt while this process itself trains; while others do, it only waits for them."""
    if workers > 1:
        yield lambda: None
        return
    with interrupts_held() as check:
        yield check


def _line(run: Run) -> str:
    named, answered = run.reading.named.mean(), run.reading.answered.mean()
    return f"  {run.arm:<10} seed {run.seed}: class word {named:.3f}, answers {answered:.3f} ({run.seconds:.0f} s)"


def _print(result: Verdicts) -> None:
    rows = [(record.claim.id, str(record.outcome), record.reason) for record in result.records]
    print_boxed(*result.tables, Table(("claim", "verdict", "why"), rows, "claims"), width=WIDTH)
    for family in result.families:
        if family.demoted:
            typer.echo(family.sentence)


def _report(phase: str, ran: bool, result: str) -> None:
    typer.echo(f"{phase}: {result}" if ran else f"{phase}: done before")


@contextmanager
def _stoppable(phase: str) -> Iterator[None]:
    """Say how to resume when a phase is interrupted."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo(f"interrupted in {phase}: the same command resumes from there", err=True)
        raise


experiment.add_typer(emergence, name="classifier-emergence")
experiment.command("virtual-expert")(virtual_expert)
