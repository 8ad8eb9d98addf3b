"""`lazarus report merge`: the shards of a run, from several machines, as one run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import show_json, verdict_style
from lazarus_probe.cli.report_history import WORSE, FailOn

if TYPE_CHECKING:
    from lazarus_probe.claims.change import Change
    from lazarus_probe.reports.baselines import Baselines
    from lazarus_probe.reports.merge import Part
    from lazarus_probe.reports.run import Run


def merge(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUNS", help="Runs of shards: their folders, or folders that they lie in."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder to write the run to, in a folder of its own.", show_default="that of --reports"
        ),
    ] = None,
    baseline: Annotated[
        str,
        typer.Option(
            metavar="auto|none|PATH|NAME",
            help="Baseline to compare with: those of exactly these models (auto), or a file or name.",
        ),
    ] = "auto",
    fail_on: FailOn = WORSE,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict", help="Exit with 1 for inconclusive claims, and where no claim applies to a model."
        ),
    ] = False,
    partial: Annotated[
        bool,
        typer.Option(
            "--partial",
            help="Merge what is there: shards may be missing or cut short. The run is marked partial.",
        ),
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Update the baseline of each model with the merged run.")
    ] = False,
    save: Annotated[
        str | None, typer.Option(metavar="NAME", help="Save the merged run as a baseline of this name.")
    ] = None,
    reports: Annotated[Path, typer.Option("--reports", help="Folder in which baselines are kept.")] = Path(
        "reports"
    ),
    as_json: AsJson = False,
) -> None:
    """Merge the shards of a run: the records, families, verdicts and page that one machine would have written.

    Shards are runs of `pytest --probe-shard I/N`. All N must be there, each once, and be of the same tests, claims,
    models, seeds and version of lazarus_probe; else the one that is not is named. Families are corrected over all
    shards, and the verdicts are compared with the baseline. The exit code is that of the whole run:

    0 if no claim and no other test failed,

    1 if one did,

    2 if the shards are not those of one run, or cannot be read.
    """
    from lazarus_probe.claims.change import read_changes
    from lazarus_probe.reports.closing import append_step_summary
    from lazarus_probe.reports.merge import check_parts, merged, read_parts
    from lazarus_probe.reports.write import write_run

    failing = read_changes(fail_on, "--fail-on")
    parts = read_parts(runs)
    check_parts(parts, partial=partial)
    baselines = _baselines(baseline, reports, parts[0].run.seeds)
    _check_keeping(parts, update=update, save=save)
    run = merged(parts, baselines)
    written = write_run(run, output or reports)
    append_step_summary(run)
    notes, problems = _keep(run, reports, update=update, save=save)
    code = int(_has_failed(run, parts, failing, strict=strict))
    if as_json:
        show_json(
            {"run": str(written), "code": code, "outcomes": run.outcomes, "changed": run.changed}, as_json
        )
    else:
        lines = _text(run, parts, baselines, None if update or save else _how_to_keep(baseline))
        typer.echo("\n".join([*lines, *notes, f"report: {written}"]))
    if problems:
        raise ValueError("; ".join(problems))
    raise typer.Exit(code)


def _baselines(choice: str, reports: Path, seeds: tuple[int, ...]) -> Baselines:
    from lazarus_probe.claims.record import named_seeds
    from lazarus_probe.reports.baselines import AUTO, NONE, Baselines, given_path, names_in

    baselines = Baselines(reports, choice, seeds)
    if choice in (AUTO, NONE):
        return baselines
    path = given_path(reports, choice)
    if not path.is_file():
        raise ValueError(
            f"--baseline {choice}: no such file or name; give auto, none, a baseline's path, or the name of one "
            f"({names_in(path.parent)})"
        )
    measured = baselines.read(path).seeds
    if measured != seeds:
        raise ValueError(
            f"--baseline {path.name} was measured with {named_seeds(measured)}, the shards with {named_seeds(seeds)}: "
            "give a baseline of the same seeds"
        )
    return baselines


def _check_keeping(parts: list[Part], *, update: bool, save: str | None) -> None:
    from lazarus_probe.reports.baselines import problem_with_name

    if save is not None and (wrong := problem_with_name(save)):
        raise ValueError(f"--save {save}: {wrong}")
    short = next((part for part in parts if part.shard.cut_short), None)
    if short and (update or save):
        option = "--update" if update else f"--save {save}"
        raise ValueError(f"{option}: {short.name} was cut short, and no baseline is made of it: run it again")


def _keep(run: Run, reports: Path, *, update: bool, save: str | None) -> tuple[list[str], list[str]]:
    from lazarus_probe.reports.baselines import write_baselines

    return write_baselines(reports, run.claims, run.seeds, update=update, name=save)


def _how_to_keep(baseline: str) -> str:
    return "--update" if baseline == "auto" else "--save NAME"


def _has_failed(run: Run, parts: list[Part], failing: frozenset[Change], *, strict: bool) -> bool:
    """Whether pytest would exit with 1: for a verdict, for another test, or as nothing was tested under `--strict`."""
    from lazarus_probe.plugin.outcomes import outcome_of
    from lazarus_probe.reports.closing import untested

    if any(part.shard.failed for part in parts) or (strict and untested(run.claims)):
        return True
    return any(outcome_of(record, strict=strict, failing=failing)[0] == "failed" for record in run.claims)


def _text(run: Run, parts: list[Part], baselines: Baselines, how_to_keep: str | None) -> list[str]:
    """What the end of the whole run's session would have said."""
    from lazarus_probe.reports.claims_text import claims_lines, counts_line
    from lazarus_probe.reports.closing import changes, of_families, shaken, still
    from lazarus_probe.reports.merge import differing_environments
    from lazarus_probe.reports.summary import nothing_tested
    from lazarus_probe.tables import terminal_width
    from lazarus_probe.untrusted import in_line

    of = parts[0].shard.of
    reasons = [record.sentence for record in run.claims if record.outcome != "supported" or record.changed]
    lines = ["", *reasons, *of_families(run.families), *shaken(run.claims), *still(run.claims)]
    lines += [*changes(run.claims, how_to_keep), *baselines.remarks(run.claims), *nothing_tested(run.claims)]
    lines += [f"broken: {broken.test}: {broken.error}" for broken in run.broken]
    lines += differing_environments(parts)
    merged = f"merged {len(parts)} of {of} shards" if len(parts) < of else f"merged {of} shards"
    lines += [f"{merged}: {len(run.claims)} verdicts{f' ({run.how_partial})' if run.partial else ''}"]
    style = verdict_style()
    table = claims_lines(run.claims, terminal_width(), style)
    return [*table, *(in_line(line) for line in lines), counts_line(run.claims, style)]
