"""`lazarus experiment virtual-expert`: let the classifier signal decide when a calculator answers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lazarus_probe.cli.options import AsJson, Model
from lazarus_probe.cli.output import print_boxed, show_json, text_aside
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.cli.progress import losses_shown
from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.plain import json_text
from lazarus_probe.tables import Column, Table

if TYPE_CHECKING:
    from lazarus_probe.experiments.routers import Routing, Sides
    from lazarus_probe.experiments.routing_scores import Latency, Score
    from lazarus_probe.experiments.virtual_expert import Sizes
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.dual_reward_config import DualReward
    from lazarus_probe.training.loop import Step

TIMED = 12
WIDTH = 120  # where standard output is not a terminal
COLUMNS = ("Total", "Cls Loss", "Ans Loss")


def virtual_expert(
    model: Model = "organism",
    adapter: Annotated[
        Path | None,
        typer.Option(
            help="Adapter trained to give the classifier signal.",
            show_default="train one first, and discard it",
        ),
    ] = None,
    layer: Annotated[
        int | None, typer.Option(help="Layer whose logit lens is read.", show_default="55% of the depth")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps, if no adapter is given.")] = 300,
    learning_rate: Annotated[float, typer.Option(help="Peak learning rate of AdamW.")] = 2e-3,
    arithmetic_only: Annotated[
        bool, typer.Option("--arithmetic-only", help="Train on arithmetic alone, as published.")
    ] = False,
    per_kind: Annotated[int, typer.Option(min=4, help="Prompts of each kind to evaluate.")] = 40,
    seed: Annotated[int, typer.Option(help="Random seed of the prompts and of training.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the results to this JSON file.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Route arithmetic to a calculator by the classifier signal; compare other routers and the model alone.

    Arithmetic of any size is mixed with capitals, reviews, tool calls, requests and lines, all in held-out wordings.
    """
    check_output(output)
    from lazarus_probe.experiments.virtual_expert import Sizes, sides_of
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.training.dual_reward_config import DualReward

    config = DualReward(steps, layer, learning_rate=learning_rate, seed=seed)
    sizes = Sizes(per_kind=per_kind, arithmetic_only=arithmetic_only)
    subject = Subject.load(model)
    with text_aside(as_json):
        result = {"seed": seed, **_results(subject, adapter, config, sizes, sides_of(sizes, seed))}
    show_json(result, as_json)
    if output is not None:
        write_whole(output, json_text(result) + "\n")
        typer.echo(f"written: {output}", err=as_json)


def _results(
    subject: Subject, adapter: Path | None, config: DualReward, sizes: Sizes, sides: Sides
) -> dict[str, Any]:
    """Run the demonstration, print its tables, and return the results."""
    from lazarus_probe.experiments.routing_scores import score
    from lazarus_probe.experiments.virtual_expert import compare, shown_by

    layer = config.layer(subject.num_layers)
    typer.echo(
        f"{subject.name}: {len(sides.measure)} prompts, the lens after layer {layer} of {subject.num_layers}"
    )
    base = shown_by(subject, sides, layer)
    with _tuned(subject, adapter, config, sizes) as tuned:
        routings = compare(subject, sides, base, shown_by(tuned, sides, layer))
        scores = [score(routing, sides) for routing in routings]
        _print(subject.name, scores)
        times = _timed(tuned, routings[0], sides, layer)
    trained = None if adapter else {**asdict(config), **asdict(sizes)}
    return {
        "model": subject.name,
        "fingerprint": subject.fingerprint,
        "adapter": None if adapter is None else str(adapter),
        "training": trained,
        "layer": layer,
        "prompts": len(sides.measure),
        "routers": [router.as_dict() for router in scores],
        "latency": None if times is None else asdict(times),
    }


@contextmanager
def _tuned(subject: Subject, adapter: Path | None, config: DualReward, sizes: Sizes) -> Iterator[Subject]:
    """The model with the signal: reloaded with an adapter, or trained within the block."""
    if adapter is not None:
        yield type(subject).load(subject.path or subject.name, adapter)
        return
    from lazarus_probe.experiments.virtual_expert import signal_trained

    with ExitStack() as until_used:
        with losses_shown(config.steps, COLUMNS) as show:

            def show_step(step: Step) -> None:
                show(step.step, step.loss, step.parts["classification"], step.parts["answer"])

            until_used.enter_context(signal_trained(subject, config, sizes, show_step))
        yield subject


def _timed(subject: Subject, signal: Routing, sides: Sides, layer: int) -> Latency | None:
    """Time prompts that the calculator answers and others, if there are both."""
    from lazarus_probe.experiments.calculator import operands
    from lazarus_probe.experiments.routing_scores import latency
    from lazarus_probe.experiments.virtual_expert import expert_of

    pairs = list(zip(sides.measure, signal.routed, strict=True))
    calculated = [item.prompt for item, sent in pairs if sent and operands(item.prompt)][:TIMED]
    passed_on = [item.prompt for item, sent in pairs if not sent][:TIMED]
    if not calculated or not passed_on:
        typer.echo("nothing is timed: all prompts are routed, or none")
        return None
    times = latency(subject, expert_of(subject, signal, layer), calculated, passed_on)
    typer.echo(f"time, as a share of the model's own answer (medians over {times.prompts} prompts, in turn):")
    typer.echo(f"  an answer by the calculator        {times.calculated:.2f}")
    typer.echo(f"  an answer passed on to the model   {times.passed_on:.2f}")
    for way, share in times.decisions.items():
        typer.echo(f"  the decision alone, by {way:<12}{share:.2f}")
    return times


def _print(model: str, scores: list[Score]) -> None:
    routers = Table(
        ("router", "precision", "recall", "decisions right", "answers right"),
        [(score.name, score.precision, score.recall, score.decisions, score.answers) for score in scores],
        model,
    )
    signal, prompted = scores[:2]
    kinds = Table(
        (
            "answers right",
            *(Column(name, ".2f") for name in (signal.name, prompted.name, "sent to the calculator")),
        ),
        [
            (kind, share, prompted.answers_by_kind[kind], signal.routed_by_kind[kind])
            for kind, share in signal.answers_by_kind.items()
        ],
    )
    print_boxed(routers, kinds, width=WIDTH)
