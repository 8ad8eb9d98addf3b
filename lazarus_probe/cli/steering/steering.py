"""Extracting a direction and steering along one, for `lazarus introspect steer`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lazarus_probe.cli.output import about, deliver, title
from lazarus_probe.cli.watching import watched

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.direction_file import Direction
    from lazarus_probe.introspection.generation.completions import Generated
    from lazarus_probe.introspection.steering.vectors import Position
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Extraction:
    """A direction to extract: the prompts on either side, and its name."""

    positive: Sequence[str]
    negative: Sequence[str]
    layer: int
    name: str | None
    labels: Sequence[str | None]
    chat: bool


@dataclass(frozen=True)
class Steering:
    """Which prompts to steer, along which direction, where and by which coefficients."""

    prompts: Sequence[str]
    source: Direction | int  # a coordinate of the residual stream
    layer: int
    coefficients: Sequence[float]
    position: Position
    max_tokens: int
    temperature: float
    labels: Sequence[str | None]
    chat: bool
    seed: int


def vector_of(steering: Steering, subject: Subject) -> Any:
    """(D,) the vector that a coefficient of 1 adds.

    Raises:
        ValueError: a coordinate that the model does not have.
    """
    import numpy as np

    if not isinstance(steering.source, int):
        return steering.source.vector
    width = subject.anatomy.hidden_size
    if steering.source >= width:
        raise ValueError(
            f"--neuron {steering.source}: there is no such coordinate; the model has 0 to {width - 1}"
        )
    return np.eye(width, dtype=np.float32)[steering.source]


def heading(steering: Steering, norm: float) -> list[str]:
    """The lines that describe the direction and how it is added."""
    source = steering.source
    name = f"neuron {source}" if isinstance(source, int) else repr(source.name)
    return [
        title("Activation steering"),
        f"Direction: {name} ({label(steering, 1)} against {label(steering, -1)})",
        f"Layer: {steering.layer}",
        f"Norm: {norm:.4f} (what a coefficient of 1 adds)",
        f"Position: {steering.position}",
    ]


def label(steering: Steering, sign: float) -> str:
    """The label of a side of the direction."""
    saved = (
        ("", "")
        if isinstance(steering.source, int)
        else (steering.source.label_positive, steering.source.label_negative)
    )
    side = 0 if sign > 0 else 1
    return steering.labels[side] or saved[side] or ("positive", "negative")[side]


def load(steering: Steering, model: str, adapter: Path | None) -> Subject:
    """The model; a direction that comes from another one is noted on standard error."""
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    home = "" if isinstance(steering.source, int) else steering.source.model_id
    if home and home != subject.name:
        typer.echo(
            f"note: the direction was taken in {home}, and is pushed along in {subject.name}", err=True
        )
    return subject


def extract_direction(
    model: str, adapter: Path | None, extraction: Extraction, output: Path | None, as_json: bool
) -> None:
    """Extract a direction, print it, and save it if an output was given."""
    from lazarus_probe.introspection.directions.difference_of_means import contrast_direction
    from lazarus_probe.introspection.directions.direction_file import write_direction
    from lazarus_probe.subject.chat import chat_prompts
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    direction = contrast_direction(
        subject,
        chat_prompts(subject, extraction.positive, extraction.chat),
        chat_prompts(subject, extraction.negative, extraction.chat),
        extraction.layer,
        name=extraction.name or (output.stem if output else ""),
        label_positive=extraction.labels[0] or "positive",
        label_negative=extraction.labels[1] or "negative",
    )
    if output is not None:
        write_direction(output, direction)
    data = direction.as_dict() | {"about": about(subject)}
    deliver(data, _extraction_text(direction, output), as_json=as_json)
    if output is not None:
        typer.echo(f"Saved to: {output}", err=as_json)


def _extraction_text(direction: Direction, output: Path | None) -> str:
    cosine, norm, states = (direction.extra[key] for key in ("cosine_similarity", "norm", "state_norm"))
    lines = [
        title("Extracting a direction"),
        f"Positive ({direction.label_positive}): {direction.extra['positive_prompt']!r}",
        f"Negative ({direction.label_negative}): {direction.extra['negative_prompt']!r}",
        f"Layer: {direction.layer}",
        f"Norm: {norm:.4f} ({norm / states:.0%} of the mean state's)",
        f"Cosine similarity: {cosine:.4f}",
        f"Separation: {1 - cosine:.4f}",
    ]
    return "\n".join([*lines, *([] if output else ["Nothing is kept; give --output FILE.npz"])])


def compare_coefficients(
    model: str, adapter: Path | None, steering: Steering, output: Path | None, as_json: bool
) -> None:
    """Steer prompts by each coefficient, and print the completions."""
    subject = load(steering, model, adapter)
    from lazarus_probe.introspection.steering.vectors import SteeringVectors, multiples, steered_completions
    from lazarus_probe.subject.chat import chat_prompts

    vector = vector_of(steering, subject)
    vectors = multiples(vector, [0.0, *steering.coefficients])
    with watched("steer") as check:
        completions = steered_completions(
            subject,
            chat_prompts(subject, steering.prompts, steering.chat),
            SteeringVectors(steering.layer, vectors, steering.position),
            steering.max_tokens,
            temperature=steering.temperature,
            seed=steering.seed,
            check=check,
        )
    norm = float((vector.astype("float64") ** 2).sum() ** 0.5)
    data = {
        "results": [
            {
                "prompt": prompt,
                "output": completion.text,
                "layer": steering.layer,
                "coefficient": coefficient,
                "ended": completion.ended,
            }
            for prompt, row in zip(steering.prompts, completions, strict=True)
            for coefficient, completion in zip(steering.coefficients, row[1:], strict=True)
        ],
        "unsteered": [
            {"prompt": prompt, "output": row[0].text}
            for prompt, row in zip(steering.prompts, completions, strict=True)
        ],
        "norm": norm,
        "position": steering.position,
        "temperature": steering.temperature,
        "about": about(subject, steering.seed),
    }
    deliver(data, _completions_text(steering, norm, completions), as_json=as_json, output=output)


def _completions_text(steering: Steering, norm: float, completions: Sequence[Sequence[Generated]]) -> str:
    from lazarus_probe.introspection.steering.vectors import signed

    lines = heading(steering, norm)
    for prompt, row in zip(steering.prompts, completions, strict=True):
        lines += ["", f"Prompt: {prompt!r}", "Unsteered:", f"  {row[0].text!r}"]
        for coefficient, completion in zip(steering.coefficients, row[1:], strict=True):
            arrow = f"-> {label(steering, coefficient)}" if coefficient else "no push"
            lines += [f"Coef {signed(coefficient)} ({arrow}):", f"  {completion.text!r}"]
    return "\n".join(lines)
