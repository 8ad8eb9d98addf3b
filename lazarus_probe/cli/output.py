"""How a command delivers its result: as text, as JSON, and in a file that is never half written."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.plain import json_text

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.tables import Table

RULE = "=" * 70


def deliver(data: Mapping[str, Any], text: str, *, as_json: bool = False, output: Path | None = None) -> None:
    """Print a result as text or as JSON, and save the same data to a file if one is given.

    Args:
        data: the result; arrays and NumPy numbers become lists and numbers, NaN and infinity become null.
        text: the result as text.
        as_json: print the data instead of the text.
        output: the file to save the data to as well.
    """
    data_text = json_text(data) if as_json or output is not None else ""
    typer.echo(data_text if as_json else text)
    if output is not None:
        write_whole(output, data_text + "\n")
        typer.echo(f"Saved to: {output}", err=as_json)


@contextmanager
def text_aside(as_json: bool) -> Iterator[None]:
    """With JSON output, what a command prints while it works goes to standard error."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield


def show_json(data: Mapping[str, Any], as_json: bool) -> None:
    """Print the result of a command as JSON, if requested; its text was printed before."""
    if as_json:
        typer.echo(json_text(data))


def about(subject: Subject, seed: int | None = None) -> dict[str, Any]:
    """The provenance of a saved result: the model's identity, versions, and the seed if one was used."""
    from lazarus_probe.reports.run import environment

    current = environment()
    return {
        "model": subject.name,
        "fingerprint": subject.fingerprint,
        "dtype": subject.dtype,
        "device": current.device,
        "packages": current.packages,
        **({} if seed is None else {"seed": seed}),
    }


def print_boxed(*tables: Table, width: int | None = None) -> None:
    """Print tables in boxes.

    Args:
        tables: each with its title.
        width: in characters, where standard output is no terminal.
    """
    from rich.console import Console
    from rich.table import Table as Boxed

    console = Console()
    console = console if width is None or console.is_terminal else Console(width=width)
    for table in tables:
        headings = table.headings
        boxed = Boxed(*headings, title=table.title, show_header=any(headings), title_justify="left")
        for row in table.texts:
            boxed.add_row(*row)
        console.print(boxed)


def title(text: str) -> str:
    """A heading between two rules."""
    return f"{RULE}\n{text}\n{RULE}"
