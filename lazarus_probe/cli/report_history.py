"""`lazarus report history`, and how a matrix of claims by versions is printed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import show_json, verdict_style
from lazarus_probe.cli.parsing import check_output

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lazarus_probe.reports.versions.matrix import Matrix

FailOn = Annotated[
    str,
    typer.Option(
        metavar="CHANGES",
        help="Changes that give exit code 1: any, none, or some of lost, weakened, no-longer-measurable, "
        "gained, newly-measurable.",
    ),
]
Page = Annotated[
    Path | None, typer.Option("--output", "-o", help="Also write claims by versions as this HTML page.")
]
WORSE = "lost,weakened,no-longer-measurable"


def history(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="Folder in which runs are kept, as in reports.")
    ],
    partial: Annotated[bool, typer.Option("--partial", help="Show partial runs too.")] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown; claims that never changed are only counted.")
    ] = False,
    output: Page = None,
    as_json: AsJson = False,
    fail_on: FailOn = WORSE,
) -> None:
    """Show claims over all runs kept in a folder, oldest first, for each model by itself.

    Each run is compared with the one before it, as `lazarus report compare` does with three and more; differences are
    corrected over all of them. Runs that are partial, or cannot be read, are named and skipped. The exit code is that
    of the last run of each model against the one before it, the most severe of all models.
    """
    from lazarus_probe.claims.change import read_changes
    from lazarus_probe.reports.versions.history import history_of
    from lazarus_probe.untrusted import in_line

    check_formats(markdown=markdown, as_json=as_json)
    check_output(output)
    runs = history_of(folder, partial=partial, fail_on=read_changes(fail_on, "--fail-on"))
    if as_json:
        data = {model: matrix.as_dict() for model, matrix in runs.matrices.items()}
        show_json({"code": runs.code, "models": data, "skipped": list(runs.skipped)}, as_json)
    else:
        print_matrices([*runs.matrices.values()], markdown=markdown)
        for line in runs.skipped:
            typer.echo(f"- {in_line(line)}" if markdown else in_line(line))
    write_page(output, [*runs.matrices.values()], as_json=as_json)
    raise typer.Exit(runs.code)


def check_formats(*, markdown: bool, as_json: bool) -> None:
    """Refuse two formats at once.

    Raises:
        ValueError: both are set.
    """
    if markdown and as_json:
        raise ValueError("--markdown and --json are two formats: give one")


def print_matrices(matrices: Sequence[Matrix], *, markdown: bool) -> None:
    """Print matrices one below the other: as Markdown, or as text that fits the terminal, in colour on one alone."""
    from lazarus_probe.reports.versions.matrix_table import matrix_markdown, matrix_text

    width = shutil.get_terminal_size().columns
    style = verdict_style()
    texts = [
        matrix_markdown(matrix) if markdown else matrix_text(matrix, width, style) for matrix in matrices
    ]
    typer.echo("\n".join(texts), nl=False)


def write_page(output: Path | None, matrices: Sequence[Matrix], *, as_json: bool) -> None:
    """Write matrices as a page, where --output names one."""
    if output is None:
        return
    from lazarus_probe.files.whole_files import write_whole
    from lazarus_probe.reports.versions.matrix_page import matrix_html

    write_whole(output, matrix_html(matrices))
    typer.echo(f"page: {output}", err=as_json)
