"""`lazarus introspect steer`: its options, and which of them go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lazarus_probe.cli.options import EVERY_SPELLING, Adapter, AsJson, ChosenSeed, Model
from lazarus_probe.cli.parsing import check_output, checked_text, layer_of, parse_prompts, seed_of
from lazarus_probe.cli.steering.steering import Extraction, Steering, compare_coefficients, extract_direction

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.direction_file import Direction

Where = Literal["last", "onward", "all"]
DIRECTION = (".npz", ".json")
PICTURE = (".png", ".svg", ".pdf")


def steer(
    model: Model,
    extract: Annotated[
        bool,
        typer.Option("--extract", help="Extract a direction: mean of --positive minus mean of --negative."),
    ] = False,
    positive: Annotated[str | None, typer.Option(help="Prompts separated by |, or @FILE.")] = None,
    negative: Annotated[str | None, typer.Option(help="Prompts separated by |, or @FILE.")] = None,
    prompts: Annotated[
        str | None,
        typer.Option("--prompts", "--prompt", "-p", help="Prompts to steer, separated by |, or @FILE."),
    ] = None,
    direction: Annotated[
        Path | None, typer.Option("--direction", "-d", help="A saved direction, .npz or .json.")
    ] = None,
    neuron: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Steer this one coordinate of the residual stream, by 1, instead of along a direction.",
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option(
            "--layer",
            "--layers",
            "-l",
            help="Layer after which to act.",
            show_default="the file's, else the middle one",
        ),
    ] = None,
    coefficient: Annotated[
        float | None,
        typer.Option(
            "--coefficient", "--strength", help="How many times to add the direction.", show_default="1"
        ),
    ] = None,
    compare: Annotated[
        str | None, typer.Option(help="Compare several coefficients, as in -2,-1,0,1,2.")
    ] = None,
    dose: Annotated[
        str | None, typer.Option(help="Measure the effect of several coefficients, as in 0,0.5,1,2,4.")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(
            help="With --dose: the word or number to steer towards; several words with commas between them. "
            f"{EVERY_SPELLING}"
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="With --dose: least probability of the target, or share of prompts that answer it, to steer.",
            show_default="none: only controls are to be beaten",
        ),
    ] = None,
    random_directions: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="With --dose: number of random directions of equal norm, as controls.",
            show_default="19",
        ),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="With --dose: plot the curves to this file.")] = None,
    position: Annotated[
        Where | None,
        typer.Option(
            help="last: the prompt's last token; onward: that and every generated token; all: every token.",
            show_default="onward",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(help="With --extract: name of the direction.")] = None,
    positive_label: Annotated[str | None, typer.Option(help="Label of what the direction points to.")] = None,
    negative_label: Annotated[
        str | None, typer.Option(help="Label of what the direction points away from.")
    ] = None,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens", "-n", min=1, help="Maximum tokens to generate.", show_default="50; with --dose 8"
        ),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="0 is greedy; above 0, sample.", show_default="0"),
    ] = None,
    chat: Annotated[
        bool, typer.Option("--chat/--raw", help="Use the chat template, or the plain prompt.")
    ] = False,
    adapter: Adapter = None,
    seed: ChosenSeed = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Save the direction (.npz or .json), or the results (JSON), to this file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Extract a direction of the residual stream from prompts, or steer prompts along one.

    A coefficient of 1 adds the direction as it was saved; its norm is the distance between the two means. Steering
    acts after a layer, from the prompt's last token on (Rimsky et al. 2023). --dose compares the effect of each
    coefficient with random directions of equal norm; a direction is said to steer only where it does more than all of
    them.
    """
    labels = [_checked(positive_label, "--positive-label"), _checked(negative_label, "--negative-label")]
    extracting = {"--positive": positive, "--negative": negative, "--name": name}
    dose_options = {
        "--target": target,
        "--threshold": threshold,
        "--random-directions": random_directions,
        "--plot": plot,
    }
    steering_options = {
        "--prompts": prompts,
        "--direction": direction,
        "--neuron": neuron,
        "--coefficient": coefficient,
        "--compare": compare,
        "--dose": dose,
        "--position": position,
        "--max-tokens": max_tokens,
        "--temperature": temperature,
        "--seed": seed,
    }
    if extract:
        refuse({**steering_options, **dose_options}, "with --extract, which only takes a direction")
        sides = _prompts(positive, "--positive"), _prompts(negative, "--negative")
        check_suffix(output, "--output", DIRECTION)
        extraction = Extraction(*sides, _layer(model, layer), _checked(name, "--name"), labels, chat)
        extract_direction(model, adapter, extraction, output, as_json)
        return
    refuse(extracting, "without --extract")
    if dose is None:
        refuse(dose_options, "without --dose")
    elif temperature:
        raise ValueError("--temperature has no effect with --dose, which decodes greedily")
    draws = seed_of(seed, dose is not None or bool(temperature), "for the most probable answers")
    source = _source(direction, neuron)
    steering = Steering(
        _prompts(prompts, "--prompts", "; or give --extract to take a direction"),
        source,
        _layer(model, layer, None if isinstance(source, int) else source),
        coefficients(coefficient, compare, dose),
        position or "onward",
        max_tokens or (50 if dose is None else 8),
        temperature or 0.0,
        labels,
        chat,
        draws,
    )
    check_output(output)
    if dose is None:
        compare_coefficients(model, adapter, steering, output, as_json)
        return
    from lazarus_probe.cli.steering.dose import Dose, measure_doses

    check_suffix(plot, "--plot", PICTURE)
    count = 19 if random_directions is None else random_directions
    measure_doses(
        model, adapter, steering, Dose(_checked(target, "--target"), count, plot, threshold), output, as_json
    )


def refuse(options: Mapping[str, Any], why: str) -> None:
    """Refuse options that would change nothing.

    Raises:
        ValueError: one of them was given.
    """
    for option, value in options.items():
        if value is not None:
            raise ValueError(f"{option} has no effect {why}; leave it out")


def coefficients(coefficient: float | None, compare: str | None, dose: str | None) -> list[float]:
    """The numbers of one of --coefficient, --compare and --dose; 1 by default.

    Raises:
        ValueError: more than one of them, or no finite, different numbers with commas between them.
    """
    texts = {
        "--coefficient": None if coefficient is None else repr(coefficient),
        "--compare": compare,
        "--dose": dose,
    }
    options = {option: text for option, text in texts.items() if text is not None}
    if len(options) > 1:
        raise ValueError(f"{' and '.join(options)} exclude each other; give one of them")
    option, text = next(iter(options.items()), ("--coefficient", "1"))
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if not numbers or not all(abs(number) < 1e6 for number in numbers) or len(set(numbers)) < len(numbers):
        raise ValueError(f"{option} {text}: give different numbers below a million, as in -2,-1,0,1,2")
    return numbers


def check_suffix(path: Path | None, option: str, suffixes: Sequence[str]) -> None:
    """Find out before the work whether a file of one of some kinds can be written.

    Raises:
        ValueError: another suffix, or as `check_output`.
    """
    if path is not None and path.suffix not in suffixes:
        raise ValueError(f"{option} {path}: give a name that ends in {' or '.join(suffixes)}")
    check_output(path, option)


def _prompts(text: str | None, option: str, advice: str = "") -> list[str]:
    if text is None:
        raise ValueError(f"{option} is missing; give prompts separated by |, or @FILE{advice}")
    return parse_prompts(text, option)


def _checked(text: str | None, option: str) -> str | None:
    return None if text is None else checked_text(text, option)


def _source(direction: Path | None, neuron: int | None) -> Direction | int:
    from lazarus_probe.introspection.directions.direction_file import read_direction

    if direction is not None and neuron is not None:
        raise ValueError("--direction and --neuron exclude each other; give one of them")
    if neuron is not None:
        return neuron
    if direction is None:
        raise ValueError(
            "nothing to steer along; give --direction FILE or --neuron, or --extract to extract one"
        )
    return read_direction(direction)


def _layer(model: str, layer: int | None, source: Direction | None = None) -> int:
    from lazarus_probe.checkpoints.names import num_layers_of

    count = num_layers_of(model)
    if layer is not None:
        return layer_of(layer, count)
    return count // 2 if source is None else layer_of(source.layer, count, "--direction: its layer")
