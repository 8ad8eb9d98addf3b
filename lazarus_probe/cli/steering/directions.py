"""`lazarus introspect directions`: are saved directions orthogonal, beyond chance?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson, KeepOutliers, Output
from lazarus_probe.cli.output import deliver, title
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.tables import Column, Table

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
    keep_outliers: KeepOutliers = False,
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Compare saved directions by cosine similarity, with random vectors as the control.

    In many dimensions random vectors are nearly orthogonal as well: a small cosine does not show independence, only a
    large one shows something. A dimension that outweighs the others in several directions is left out. Directions of
    different widths are refused; those of different models raise a warning.
    """
    check_output(output)
    from lazarus_probe.introspection.directions.cosines import direction_cosines
    from lazarus_probe.introspection.directions.direction_file import read_direction

    cosines = direction_cosines(
        [read_direction(path) for path in files], files, threshold, keep_outliers=keep_outliers
    )
    deliver(cosines.as_data(), _text(cosines), as_json=as_json, output=output)


def _text(cosines: Cosines) -> str:
    return "\n".join(
        [
            title("DIRECTION COMPARISON"),
            *_metadata(cosines),
            *(
                f"Left out, as an outlier in several: {outlier} of a direction"
                for outlier in cosines.left_out
            ),
            "",
            "Cosine similarity matrix:",
            *_matrix(cosines),
            "",
            "Pairs:",
            *_pairs(cosines),
            "",
            f"Mean |cosine|: {cosines.mean:.4f}",
            f"Random vectors of dimension {cosines.null.dim}: |cosine| {cosines.null.expected:.4f} on average, "
            f"95% below {cosines.null.upper:.4f}",
            *(f"Warning: {text}" for text in cosines.warnings),
            f"Assessment: {assessment(cosines)}",
        ]
    )


def _metadata(cosines: Cosines) -> list[str]:
    lines = []
    for path, direction in zip(cosines.files, cosines.directions, strict=True):
        accuracy = "" if direction.accuracy is None else f", accuracy {direction.accuracy:.3f}"
        model = f", {direction.model_id}" if direction.model_id else ""
        shape = f"L{direction.layer}, dim {len(direction.vector)}"
        lines.append(f"  {direction.name}: {path} ({shape}{accuracy}{model})")
    return lines


def _matrix(cosines: Cosines) -> list[str]:
    names = [direction.name[: WIDTH - 2] for direction in cosines.directions]
    columns = [Column("", width=WIDTH), *(Column(name, "+.3f", WIDTH) for name in names)]
    rows = [(name, *row) for name, row in zip(names, cosines.matrix, strict=True)]
    return [f"  {line}" for line in Table(columns, rows).lines(gap=0)]


def _pairs(cosines: Cosines) -> list[str]:
    lines = []
    for pair in cosines.pairs:
        words = [name for name, holds in (("orthogonal", pair.orthogonal), ("alike", pair.alike)) if holds]
        kind = " and ".join(words) or "neither"
        lines.append(
            f"  {pair.name_a} vs {pair.name_b}: {pair.cosine:+.4f}  {kind} (p of random vectors {pair.p:.3g})"
        )
    return lines


def assessment(cosines: Cosines) -> str:
    """How many pairs are orthogonal, how many alike, and what that does not show."""
    from lazarus_probe.claims.judging import by_option
    from lazarus_probe.introspection.directions.cosines import ORTHOGONAL

    orthogonal, beyond = sum(pair.orthogonal for pair in cosines.pairs), len(cosines.beyond_chance)
    limit = f"{cosines.threshold:g}{by_option(ORTHOGONAL, cosines.threshold, '--threshold')}"
    count = f"{orthogonal} of {len(cosines.pairs)} pairs are orthogonal, with a |cosine| of at most {limit}"
    if not beyond:
        return (
            f"{count}, and no pair is more alike than random vectors: "
            "that does not show that they stand for independent features"
        )
    return (
        f"{count}; {beyond} of {len(cosines.pairs)} are more alike than random vectors (5% over all pairs). "
        "Activations are not spread evenly, so unrelated directions can be alike too"
    )
