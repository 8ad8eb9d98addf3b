"""The command `circuit`: what models compute on sets of prompts, kept in files."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lazarus_probe.cli.parsing import parse_layers
from lazarus_probe.cli.run import run, show_version

if TYPE_CHECKING:
    from lazarus_probe.circuit.collect import At

app = typer.Typer(
    add_completion=False, pretty_exceptions_enable=False, help="Circuits from sets of labelled prompts."
)


@app.callback()
def version(
    _: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Nothing but `--version`: everything else is a command."""


@app.command()
def collect(
    model: Annotated[str, typer.Option("--model", "-m", help="A bundled name, a folder or a Hub id.")],
    dataset: Annotated[
        Path, typer.Option("--dataset", "-d", help="Prompts: JSON, or a text file with one a line.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The safetensors file; a .json is put beside it.")
    ],
    layers: Annotated[str, typer.Option(help="Blocks, as in 0,2-5.")] = "all",
    at: Annotated[str, typer.Option(help="Position: last, mean, or a number (-1 is the last).")] = "last",
    adapter: Annotated[
        Path | None, typer.Option(help="A folder with an adapter: lora_weights.npz, or mlx-lm's.")
    ] = None,
) -> None:
    """Collect the residual stream after each block, one vector a prompt."""
    position, file = parse_at(at), output_file(output)
    from lazarus_probe.circuit.dataset import read_prompts
    from lazarus_probe.subject.load import num_layers_of

    prompts = read_prompts(dataset)
    wanted = parse_layers(layers, num_layers_of(model))
    from rich.console import Console

    from lazarus_probe.circuit.collect import collect_residuals
    from lazarus_probe.subject.subject import Subject

    with Console(stderr=True).status(f"collecting {len(prompts.texts)} prompts"):
        collect_residuals(Subject.load(model, adapter), prompts, file, wanted, position)
    typer.echo(f"written: {file}, {file.with_suffix('.json').name} ({len(prompts.texts)} prompts)")


def parse_at(text: str) -> At:
    """The position that `--at` means.

    Raises:
        ValueError: it is neither `last` nor `mean` nor a whole number.
    """
    named: dict[str, At] = {"last": "last", "mean": "mean"}
    if text in named:
        return named[text]
    try:
        return int(text)
    except ValueError:
        raise ValueError(f"--at {text} is unknown; give last, mean or a number") from None


def output_file(path: Path) -> Path:
    """The safetensors file that `--output` means; its suffix may be left out.

    Raises:
        ValueError: another suffix, or a folder that is not there.
    """
    if path.suffix not in ("", ".safetensors"):
        raise ValueError(f"--output {path} ends in {path.suffix}; give a name ending in .safetensors")
    if not path.parent.is_dir():
        raise ValueError(f"--output {path}: the folder {path.parent} does not exist; make it first")
    return path.with_suffix(".safetensors")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `circuit` and return its exit code."""
    return run(app, "circuit", arguments)


if __name__ == "__main__":
    sys.exit(main())
