"""`lazarus report`: the results of runs, and what changed between two of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver, show_json
from lazarus_probe.cli.parsing import check_output
from lazarus_probe.cli.report_history import WORSE, FailOn, Page, check_formats, print_matrices, write_page
from lazarus_probe.files.whole_files import append_line, write_aside, write_whole
from lazarus_probe.plain import json_text

COMMANDS = {
    "merge": (
        "report_merge",
        "Merge the shards of a run: the records, families, verdicts and page that one machine would have written.",
    ),
    "history": (
        "report_history",
        "Show claims over all runs kept in a folder, oldest first, for each model by itself.",
    ),
    "moved": (
        "mutants.moved",
        "List claims that moved further since A than harmless changes of the model move them; exit 1 if any did.",
    ),
}

report = typer.Typer(
    cls=lazy_group(COMMANDS),
    rich_markup_mode=None,
    help="Compare runs of claims, merge shards of one, or show one as a page or in a model card.",
)

SIDE = "a run (its folder, run.json or run.jsonl; in a folder of runs, the latest), or a baseline (its file or name)"
Folder = Annotated[
    Path, typer.Option("--reports", help="Folder in which runs and baselines are looked up by name.")
]


@report.command()
def compare(
    versions: Annotated[
        list[str],
        typer.Argument(metavar="A B ...", help=f"Versions, the earliest first, two or more; each is {SIDE}."),
    ],
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown; unchanged claims are only counted.")
    ] = False,
    as_json: AsJson = False,
    output: Page = None,
    fail_on: FailOn = WORSE,
    annotations: Annotated[
        bool,
        typer.Option(
            "--annotations",
            help="Print a GitHub annotation too for each claim that changed, at its test's line.",
        ),
    ] = False,
    reports: Folder = Path("reports"),
) -> None:
    """Compare the verdicts of claims in two or more versions, and say which differences are real.

    A claim is lost if it was supported and is refuted or confounded. It weakened or gained if its verdict went down
    or up among supported, inconclusive, confounded and refuted, in this order. It is newly (or no longer) measurable
    if it was (or is) not applicable. A score that moved under the same verdict, and a claim whose declaration differs
    from A's, are listed and change nothing.

    Three or more versions become a table of claims by versions, in the order given, each compared with the one before
    it; differences are corrected over all pairs, and the exit code is that of the last pair. So does one run of several
    models, whose models are the versions. A claim that a version lacks is absent there, and no change. The exit code is

    0 if no verdict changed in a way that --fail-on names,

    1 if one did,

    2 if a version cannot be read,

    3 if a test broke or a claim no longer has a verdict, whatever else changed.
    """
    from lazarus_probe.claims.change import read_changes
    from lazarus_probe.reports.versions.annotations import workflow_commands
    from lazarus_probe.reports.versions.compare_table import comparison_markdown, comparison_text
    from lazarus_probe.reports.versions.matrix import matrix_of, model_sides
    from lazarus_probe.reports.versions.sides import read_side

    check_formats(markdown=markdown, as_json=as_json)
    check_output(output)
    failing = read_changes(fail_on, "--fail-on")
    sides = [read_side(version, reports) for version in versions]
    if len(sides) == 1:
        sides = model_sides(sides[0])
    if len(sides) < 2:
        raise ValueError(
            f"{versions[0]} is one version: give another to compare it with, or a run of several models"
        )
    matrix = matrix_of(sides, failing)
    write_page(output, [matrix], as_json=as_json)
    if annotations and as_json:
        raise ValueError("--annotations prints lines for GitHub, and --json data: give one of them")
    if annotations:
        for line in workflow_commands(matrix.comparisons[-1], Path.cwd()):
            typer.echo(line)
    if len(versions) != 2:
        if as_json:
            show_json(matrix.as_dict(), as_json)
        else:
            print_matrices([matrix], markdown=markdown)
        raise typer.Exit(matrix.code)
    comparison = matrix.comparisons[0]
    if as_json:
        show_json(comparison.as_dict(), as_json)
    else:
        typer.echo(comparison_markdown(comparison) if markdown else comparison_text(comparison), nl=False)
    raise typer.Exit(comparison.code)


@report.command()
def page(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run: its folder, run.json, run.jsonl or name.")
    ],
    baseline: Annotated[str | None, typer.Option(help=f"Compare with {SIDE}.")] = None,
    output: Annotated[
        Path | None, typer.Option(help="The file to write.", show_default="index.html in the run's folder")
    ] = None,
    reports: Folder = Path("reports"),
    as_json: AsJson = False,
) -> None:
    """Rewrite a run's page, compared with another run or baseline if one is given."""
    from lazarus_probe.reports.page import page_html
    from lazarus_probe.reports.versions.compare import compare_runs
    from lazarus_probe.reports.versions.sides import find_run, read_side, run_side

    if output is not None and not output.parent.is_dir():
        raise ValueError(f"--output {output}: the folder {output.parent} does not exist; make it first")
    folder, result = find_run(run, reports)
    file = output or folder / "index.html"
    check_output(file)
    changes = compare_runs(read_side(baseline, reports), run_side(result, folder.name)) if baseline else None
    write_aside(file, page_html(result, changes))
    deliver({"page": file}, str(file), as_json=as_json)


@report.command()
def badge(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run: its folder, run.json, run.jsonl or name.")
    ],
    output: Annotated[
        Path | None, typer.Option(help="The .json file to write.", show_default="standard output")
    ] = None,
    reports: Folder = Path("reports"),
) -> None:
    """Print a run as JSON for a badge of shields.io: how many of the claims it could test are supported."""
    from lazarus_probe.reports.badge import badge as badge_of
    from lazarus_probe.reports.versions.sides import find_run

    check_output(output)
    data = badge_of(find_run(run, reports)[1])
    if output is None:
        show_json(data, True)
    else:
        write_whole(output, json_text(data) + "\n")
        typer.echo(f"Saved to: {output}", err=True)


@report.command()
def card(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run: its folder, run.json, run.jsonl or name.")
    ],
    model: Annotated[
        str | None, typer.Option(help="The model to write the card of, if the run has several.")
    ] = None,
    metadata: Annotated[
        bool,
        typer.Option(
            "--metadata", help="Begin with the results as `model-index` metadata of the Hugging Face Hub."
        ),
    ] = False,
    reports: Folder = Path("reports"),
    as_json: AsJson = False,
) -> None:
    """Print a `Verified findings` section for a model card, in Markdown."""
    from lazarus_probe.reports.card import card_markdown
    from lazarus_probe.reports.hub_metadata import front_matter, model_index
    from lazarus_probe.reports.versions.sides import find_run

    result = find_run(run, reports)[1]
    text = card_markdown(result, model)
    data = {"markdown": text, **(model_index(result, model) if metadata else {})}
    if metadata:
        text = f"{front_matter(result, model)}\n{text}"
    show_json(data, as_json)
    if not as_json:
        typer.echo(text, nl=False)


@report.command()
def log(
    run: Annotated[
        str, typer.Argument(metavar="RUN", help="A run: its folder, run.json, run.jsonl or name.")
    ],
    to: Annotated[
        str | None,
        typer.Option(metavar="wandb|trackio|mlflow", help="Tracker to log to, which must be installed."),
    ] = None,
    project: Annotated[str, typer.Option(help="Project of the tracker.")] = "lazarus_probe",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="File of JSON lines to append to.", show_default="standard output"
        ),
    ] = None,
    reports: Folder = Path("reports"),
) -> None:
    """Log a run's verdicts: as JSON lines, one a verdict, or as metrics of an experiment tracker."""
    from lazarus_probe.reports.loggers import jsonl_of, log_run, tracker
    from lazarus_probe.reports.versions.sides import find_run

    check_output(output)
    result = find_run(run, reports)[1]
    if to is not None:
        with tracker(to, project, result.run) as logger:
            log_run(result, logger)
        typer.echo(f"Logged to: {to}, project {project}", err=True)
    if output is not None:
        append_line(output, jsonl_of(result).removesuffix("\n"))
        typer.echo(f"Appended to: {output}", err=True)
    elif to is None:
        typer.echo(jsonl_of(result), nl=False)
