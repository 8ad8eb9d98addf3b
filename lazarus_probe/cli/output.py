"""How a command delivers its result: as text, as JSON, and in a file that is never half written."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import typer

from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.plain import json_text
from lazarus_probe.tables import terminal_width

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject
    from lazarus_probe.tables import Table

RULE = "=" * 70
GAP = re.compile(r"\S {2,}\S")
# The space that a token begins with, as in `' of'`: a line that ended there would show another token.
IN_TOKEN, HELD = re.compile(r"(?:(?<=^')|(?<=[\s(\[]')) (?=\S)"), "\ue000"
COLOURS = {"supported": "green", "refuted": "red", "confounded": "yellow", "broke": "red"}


def deliver(data: Mapping[str, Any], text: str, *, as_json: bool = False, output: Path | None = None) -> None:
    """Print a result as text or as JSON, and save the same data to a file if one is given.

    Args:
        data: the result; arrays and NumPy numbers become lists and numbers, NaN and infinity become null.
        text: the result as text.
        as_json: print the data instead of the text.
        output: the file to save the data to as well.
    """
    data_text = json_text(data) if as_json or output is not None else ""
    typer.echo(data_text if as_json else wrapped(text, terminal_width()))
    if output is not None:
        write_whole(output, data_text + "\n")
        typer.echo(f"Saved to: {output}", err=as_json)


def wrapped(text: str, width: int | None) -> str:
    """Text whose sentences are broken between words where a line is longer than a terminal.

    Rows of tables stay as they are: what has gaps within it is one.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in _wrapped(line, width))


def _wrapped(line: str, width: int) -> list[str]:
    words = line.lstrip()
    if len(line) <= width or len(GAP.findall(words)) > 1:
        return [line]
    indent = line[: len(line) - len(words)]
    lines = wrap(
        IN_TOKEN.sub(HELD, words),
        width,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [part.replace(HELD, " ") for part in lines]


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


def verdict_style() -> Callable[[str, str], str]:
    """Colours a text by its verdict, on a terminal alone and not where `NO_COLOR` is set."""
    coloured = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return _coloured if coloured else lambda text, _: text


def _coloured(text: str, verdict: str) -> str:
    colour = COLOURS.get(verdict)
    return typer.style(text, fg=colour) if colour else typer.style(text, dim=True)


def title(text: str) -> str:
    """A heading between two rules."""
    return f"{RULE}\n{text}\n{RULE}"
