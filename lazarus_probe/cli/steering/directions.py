"""`lazarus introspect directions`: are saved directions orthogonal, beyond chance?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson, Output
from lazarus_probe.cli.output import deliver, title
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from lazarus_probe.introspection.directions.cosines import Cosines

WIDTH = 14


def directions(
    files: Annotated[list[Path], typer.Argument(help="Two or more directions: .npz or .json files.")],
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Largest |cosine| at which two directions are called orthogonal.",
            show_default="the threshold of the claim directions-orthogonal",
        ),
    ] = None,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare saved directions by cosine similarity, with random vectors as the control.

    In many dimensions random vectors are nearly orthogonal as well: a small cosine does not show independence, only a
    large one shows something. Directions of different widths are refused; those of different models raise a warning.
    """
    check_output(output)
    from lazarus_probe.introspection.directions.cosines import direction_cosines
    from lazarus_probe.introspection.directions.direction_file import read_direction

    found = direction_cosines([read_direction(path) for path in files], files, threshold)
    deliver(found.as_data(), _text(found), as_json=as_json, output=output)


def _text(found: Cosines) -> str:
    return "\n".join(
        [
            title("DIRECTION COMPARISON"),
            *_metadata(found),
            "",
            "Cosine similarity matrix:",
            *_matrix(found),
            "",
            "Pairs:",
            *_pairs(found),
            "",
            f"Mean |cosine|: {found.mean:.4f}",
            f"Random vectors of dimension {found.null.dim}: |cosine| {found.null.expected:.4f} on average, "
            f"95% below {found.null.upper:.4f}",
            *(f"Warning: {text}" for text in found.warnings),
            f"Assessment: {assessment(found)}",
        ]
    )


def _metadata(found: Cosines) -> list[str]:
    lines = []
    for path, each in zip(found.files, found.directions, strict=True):
        accuracy = "" if each.accuracy is None else f", accuracy {each.accuracy:.3f}"
        model = f", {each.model_id}" if each.model_id else ""
        lines.append(f"  {each.name}: {path} (L{each.layer}, dim {len(each.vector)}{accuracy}{model})")
    return lines


def _matrix(found: Cosines) -> list[str]:
    names = [each.name[: WIDTH - 2].ljust(WIDTH) for each in found.directions]
    rows = ["".join(f"{value:+.3f}".ljust(WIDTH) for value in row) for row in found.matrix]
    return [
        (" " * (WIDTH + 2) + "".join(names)).rstrip(),
        *(f"  {name}{row}".rstrip() for name, row in zip(names, rows, strict=True)),
    ]


def _pairs(found: Cosines) -> list[str]:
    lines = []
    for pair in found.pairs:
        words = [name for name, holds in (("orthogonal", pair.orthogonal), ("alike", pair.alike)) if holds]
        kind = " and ".join(words) or "neither"
        lines.append(
            f"  {pair.name_a} vs {pair.name_b}: {pair.cosine:+.4f}  {kind} (p of random vectors {pair.p:.3g})"
        )
    return lines


def assessment(found: Cosines) -> str:
    """How many pairs are orthogonal, how many alike, and what that does not show."""
    from lazarus_probe.claims.judging import by_option
    from lazarus_probe.introspection.directions.cosines import ORTHOGONAL

    orthogonal, beyond = sum(pair.orthogonal for pair in found.pairs), len(found.beyond_chance)
    limit = f"{found.threshold:g}{by_option(ORTHOGONAL, found.threshold, '--threshold')}"
    count = f"{orthogonal} of {len(found.pairs)} pairs are orthogonal, with a |cosine| of at most {limit}"
    if not beyond:
        return (
            f"{count}, and no pair is more alike than random vectors: "
            "that does not show that they stand for independent features"
        )
    return (
        f"{count}; {beyond} of {len(found.pairs)} are more alike than random vectors (5% over all pairs). "
        "Activations are not spread evenly, so unrelated directions can be alike too"
    )
