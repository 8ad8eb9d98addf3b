"""How a command hands its result over: as text, as JSON, and in a file that is whole or not there."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lazarus_probe.files.whole_files import write_whole
from lazarus_probe.plain import without_halves

if TYPE_CHECKING:
    from lazarus_probe.subject.subject import Subject

RULE = "=" * 70


def deliver(data: Mapping[str, Any], text: str, *, as_json: bool = False, output: Path | None = None) -> None:
    """Print a result as text, or as JSON if asked for, and save the same data if there is a file for it.

    Args:
        data: the result; arrays and NumPy numbers become lists and numbers, what is no number becomes null.
        text: the result as it is read.
        as_json: print the data instead of the text.
        output: the file to save the data to as well.
    """
    plain_data = plain(data)
    typer.echo(as_text(plain_data) if as_json else text)
    if output is not None:
        write_whole(output, as_text(plain_data) + "\n")
        typer.echo(f"Saved to: {output}", err=as_json)


@contextmanager
def text_aside(as_json: bool) -> Iterator[None]:
    """What a command prints while it works goes to standard error where it ends in JSON."""
    with redirect_stdout(sys.stderr) if as_json else nullcontext():
        yield


def show_json(data: Mapping[str, Any], as_json: bool) -> None:
    """Print what a command came to as JSON, if that was asked for; its text was printed before."""
    if as_json:
        typer.echo(as_text(plain(data)))


def about(subject: Subject, seed: int | None = None) -> dict[str, Any]:
    """What a saved result says of how it came about: the model's identity, versions, and the seed if one was used."""
    from lazarus_probe.reports.run import environment

    found = environment()
    return {
        "model": subject.name,
        "fingerprint": subject.fingerprint,
        "dtype": subject.dtype,
        "device": found.device,
        "packages": found.packages,
        **({} if seed is None else {"seed": seed}),
    }


def title(text: str) -> str:
    """A heading between two rules."""
    return f"{RULE}\n{text}\n{RULE}"


def columns(rows: Sequence[Sequence[object]], widths: Sequence[int]) -> str:
    """Rows of cells, each padded to the width of its column; the last is not padded."""
    return "\n".join(
        " ".join(str(cell).ljust(width) for cell, width in zip(row, [*widths, 0], strict=False)).rstrip()
        for row in rows
    )


def plain(value: Any) -> Any:
    """Data that JSON can hold: NumPy and mlx values as lists and numbers, NaN and infinities as null.

    Halves of surrogate pairs, which a file in UTF-8 cannot hold, are spelled out.
    """
    if isinstance(value, Mapping):
        return {without_halves(str(key)): plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set | range):
        return [plain(each) for each in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return without_halves(str(value)) if isinstance(value, Path | str) else value


def as_text(data: Any) -> str:
    """Plain data as JSON text."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False)
