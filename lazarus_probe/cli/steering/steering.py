"""A direction extracted, or steered along: what `lazarus introspect steer` does and prints."""

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
    from lazarus_probe.introspection.steering.pushes import Position
    from lazarus_probe.subject.subject import Subject


@dataclass(frozen=True)
class Extraction:
    """A direction to take: the prompts on either side, and what it is called."""

    positive: Sequence[str]
    negative: Sequence[str]
    layer: int
    name: str | None
    labels: Sequence[str | None]
    chat: bool


@dataclass(frozen=True)
class Push:
    """What to push, along what, where and how far."""

    prompts: Sequence[str]
    source: Direction | int
    layer: int
    coefficients: Sequence[float]
    position: Position
    max_tokens: int
    temperature: float
    labels: Sequence[str | None]
    chat: bool
    seed: int


def vector_of(push: Push, subject: Subject) -> Any:
    """(D,) what a coefficient of 1 adds.

    Raises:
        ValueError: a coordinate or a direction that is not of this model.
    """
    import numpy as np

    width = subject.anatomy.hidden_size
    if not isinstance(push.source, int):
        if len(push.source.vector) != width:
            raise ValueError(
                f"the direction has {len(push.source.vector)} numbers and {subject.name} a width of {width}; "
                "give a direction of this model"
            )
        return push.source.vector
    if push.source >= width:
        raise ValueError(
            f"--neuron {push.source}: there is no such coordinate; the model has 0 to {width - 1}"
        )
    return np.eye(width, dtype=np.float32)[push.source]


def heading(push: Push, norm: float) -> list[str]:
    """What is pushed along, in lines."""
    what = f"neuron {push.source}" if isinstance(push.source, int) else repr(push.source.name)
    return [
        title("Activation steering"),
        f"Direction: {what} ({label(push, 1)} against {label(push, -1)})",
        f"Layer: {push.layer}",
        f"Norm: {norm:.4f} (what a coefficient of 1 adds)",
        f"Position: {push.position}",
    ]


def label(push: Push, sign: float) -> str:
    """What lies on a side of the direction."""
    saved = (
        ("", "") if isinstance(push.source, int) else (push.source.label_positive, push.source.label_negative)
    )
    side = 0 if sign > 0 else 1
    return push.labels[side] or saved[side] or ("positive", "negative")[side]


def asked(subject: Subject, prompts: Sequence[str], chat: bool) -> list[str]:
    """The prompts as the model is to meet them."""
    from lazarus_probe.subject.chat import in_chat

    return [in_chat(subject, prompt) for prompt in prompts] if chat else list(prompts)


def signed(coefficient: float) -> str:
    """A coefficient as the published outputs have it: `+1.0`, and in full where that would round it."""
    short = f"{coefficient:+.1f}"
    return short if float(short) == coefficient else f"{coefficient:+g}"


def load(push: Push, model: str, adapter: Path | None) -> Subject:
    """The model, with a word on a direction that comes from another one."""
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    home = "" if isinstance(push.source, int) else push.source.model_id
    if home and home != subject.name:
        typer.echo(
            f"note: the direction was taken in {home}, and is pushed along in {subject.name}", err=True
        )
    return subject


def take(
    model: str, adapter: Path | None, extraction: Extraction, output: Path | None, as_json: bool
) -> None:
    """Take a direction, show it, and keep it if there is a file for it."""
    from lazarus_probe.introspection.directions.direction_file import write_direction
    from lazarus_probe.introspection.steering.pushes import contrast
    from lazarus_probe.subject.subject import Subject

    subject = Subject.load(model, adapter)
    found = contrast(
        subject,
        asked(subject, extraction.positive, extraction.chat),
        asked(subject, extraction.negative, extraction.chat),
        extraction.layer,
        name=extraction.name or (output.stem if output else ""),
        label_positive=extraction.labels[0] or "positive",
        label_negative=extraction.labels[1] or "negative",
    )
    if output is not None:
        write_direction(output, found)
    data = found.as_dict() | {"about": about(subject)}
    deliver(data, _extracted(found, output), as_json=as_json)
    if output is not None:
        typer.echo(f"Saved to: {output}", err=as_json)


def _extracted(found: Direction, output: Path | None) -> str:
    cosine, norm, states = (found.extra[key] for key in ("cosine_similarity", "norm", "state_norm"))
    lines = [
        title("Extracting a direction"),
        f"Positive ({found.label_positive}): {found.extra['positive_prompt']!r}",
        f"Negative ({found.label_negative}): {found.extra['negative_prompt']!r}",
        f"Layer: {found.layer}",
        f"Norm: {norm:.4f} ({norm / states:.0%} of the mean state's)",
        f"Cosine similarity: {cosine:.4f}",
        f"Separation: {1 - cosine:.4f}",
    ]
    return "\n".join([*lines, *([] if output else ["Nothing is kept; give --output FILE.npz"])])


def show(model: str, adapter: Path | None, push: Push, output: Path | None, as_json: bool) -> None:
    """Push prompts, and show what the model says then."""
    subject = load(push, model, adapter)
    from lazarus_probe.introspection.steering.pushes import Pushes, multiples, pushed

    vector = vector_of(push, subject)
    pushes = Pushes(push.layer, multiples(vector, [0.0, *push.coefficients]), push.position)
    with watched("steer") as check:
        said = pushed(
            subject,
            asked(subject, push.prompts, push.chat),
            pushes,
            push.max_tokens,
            temperature=push.temperature,
            seed=push.seed,
            check=check,
        )
    norm = float((vector.astype("float64") ** 2).sum() ** 0.5)
    data = {
        "results": [
            {
                "prompt": prompt,
                "output": one.text,
                "layer": push.layer,
                "coefficient": coefficient,
                "ended": one.ended,
            }
            for prompt, row in zip(push.prompts, said, strict=True)
            for coefficient, one in zip(push.coefficients, row[1:], strict=True)
        ],
        "unsteered": [
            {"prompt": prompt, "output": row[0].text} for prompt, row in zip(push.prompts, said, strict=True)
        ],
        "norm": norm,
        "position": push.position,
        "temperature": push.temperature,
        "about": about(subject, push.seed),
    }
    deliver(data, _pushed(push, norm, said), as_json=as_json, output=output)


def _pushed(push: Push, norm: float, said: Sequence[Sequence[Generated]]) -> str:
    lines = heading(push, norm)
    for prompt, row in zip(push.prompts, said, strict=True):
        lines += ["", f"Prompt: {prompt!r}", "Unsteered:", f"  {row[0].text!r}"]
        for coefficient, one in zip(push.coefficients, row[1:], strict=True):
            arrow = f"-> {label(push, coefficient)}" if coefficient else "no push"
            lines += [f"Coef {signed(coefficient)} ({arrow}):", f"  {one.text!r}"]
    return "\n".join(lines)
